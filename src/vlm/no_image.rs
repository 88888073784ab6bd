//! Recognises answers which state that no image was received: the server or the model dropped it.

/// Words for an image.
const IMAGES: [&str; 12] = [
    "image",
    "picture",
    "photo",
    "attachment",
    "visual input",
    "bild",
    "imagen",
    "imagem",
    "immagine",
    "图片",
    "图像",
    "画像",
];
/// Phrases that say that something is missing or cannot be seen.
const MISSING: [&str; 43] = [
    "no image",
    "no picture",
    "no photo",
    "no attachment",
    "no visual",
    "not see",
    "n't see",
    "cannot view",
    "n't view",
    "not view",
    "unable to see",
    "unable to view",
    "unable to access",
    "unable to process",
    "cannot access",
    "n't access",
    "cannot process",
    "n't process",
    "n't have access",
    "not have access",
    "n't received",
    "not receive",
    "n't receive",
    "n't provided",
    "not provide",
    "n't attached",
    "not attach",
    "n't include",
    "not include",
    "n't upload",
    "not upload",
    "not shared",
    "please provide",
    "please upload",
    "please attach",
    "please share",
    "kein",
    "nicht",
    "aucune",
    "ningun",
    "nenhum",
    "没有",
    "ありません",
];
/// Phrases that no description of a page uses for what is on the page.
const NOT_SENT: [&str; 12] = [
    "no image provided",
    "no image was provided",
    "no image has been provided",
    "no image attached",
    "no image was attached",
    "no image included",
    "no image was included",
    "no image was uploaded",
    "no picture was provided",
    "image was not provided",
    "image is not provided",
    "image not provided",
];

/// Whether one sentence of an answer that is no description states that there is no image.
pub(super) fn is_stated(answer: &str) -> bool {
    let answer = normalized(answer);
    answer
        .split(['.', '!', '?', '\n', ';', '。', '！'])
        .any(|sentence| {
            let contains_any = |phrases: &[&str]| phrases.iter().any(|p| sentence.contains(p));
            contains_any(&IMAGES) && contains_any(&MISSING)
        })
}

/// Whether title and summary of a description state that there was no image.
pub(super) fn is_stated_in_description(text: &str) -> bool {
    let text = normalized(text);
    NOT_SENT.iter().any(|phrase| text.contains(phrase))
}

/// Lower case, with plain apostrophes.
fn normalized(text: &str) -> String {
    text.to_lowercase().replace('’', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_an_image_are_recognised() {
        for answer in [
            "I'm sorry, but I can't see any image. Please upload the page you would like me to describe.",
            "I don’t see an image attached to your message.",
            "As a text-based model I am unable to view pictures.",
            "It seems the image was not included.\nCould you share it?",
            "Es wurde leider kein Bild übermittelt.",
            "我没有看到任何图片。",
        ] {
            assert!(is_stated(answer), "{answer}");
        }
        for answer in [
            "I am sorry, I cannot read that.",
            "I cannot see the page.",
            "Bright page: a drawing of one pump, with its motor.",
            "The image shows a valve. Seals are not included.",
        ] {
            assert!(!is_stated(answer), "{answer}");
        }
    }

    #[test]
    fn descriptions_of_displays_without_a_picture_are_descriptions() {
        for text in [
            "No image provided The request contains no page.",
            "Unknown page The image was not provided, so its content is unknown.",
        ] {
            assert!(is_stated_in_description(text), "{text}");
        }
        let manual =
            "No picture on the screen What to do if you cannot see the image of the camera.";
        assert!(!is_stated_in_description(manual));
    }
}
