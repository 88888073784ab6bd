//! Recognises answers which state that no image was received: the server or the model dropped it.
//!
//! Manuals mention missing images too ("What to do if there is no picture on the screen"). So a sentence counts only if
//! its subject is the image that was to be sent, or the one who answers.

/// Words for an image.
const IMAGES: [&str; 19] = [
    "image",
    "images",
    "picture",
    "pictures",
    "photo",
    "photos",
    "attachment",
    "attachments",
    "bild",
    "bilder",
    "foto",
    "fotos",
    "anhang",
    "imagen",
    "imágenes",
    "imagem",
    "imagens",
    "immagine",
    "immagini",
];
/// The same in languages without spaces.
const UNSPACED_IMAGES: [&str; 3] = ["图片", "图像", "画像"];
/// Words before the statement that an image is missing.
const OPENERS: [&str; 30] = [
    "i'm",
    "i",
    "am",
    "sorry",
    "but",
    "unfortunately",
    "it",
    "seems",
    "appears",
    "looks",
    "like",
    "that",
    "since",
    "as",
    "there",
    "is",
    "was",
    "were",
    "the",
    "an",
    "your",
    "es",
    "wurde",
    "wurden",
    "ist",
    "leider",
    "da",
    "das",
    "die",
    "ihr",
];
/// Words between the image and the verb.
const AUXILIARIES: [&str; 10] = [
    "was", "were", "is", "are", "has", "have", "been", "wurde", "wurden", "leider",
];
const NO: [&str; 4] = ["no", "kein", "keine", "keinen"];
const NOT: [&str; 7] = [
    "not", "wasn't", "weren't", "isn't", "hasn't", "haven't", "nicht",
];
/// What did not happen to the image.
const SENT: [&str; 13] = [
    "provided",
    "attached",
    "uploaded",
    "shared",
    "included",
    "submitted",
    "übermittelt",
    "gesendet",
    "mitgesendet",
    "mitgeschickt",
    "angehängt",
    "beigefügt",
    "hochgeladen",
];
/// Words that begin the consequence.
const CONSEQUENCES: [&str; 5] = ["so", "and", "therefore", "thus", "daher"];
/// Words for the message, or for what it asks for.
const MESSAGE: [&str; 13] = [
    "message",
    "request",
    "prompt",
    "conversation",
    "input",
    "chat",
    "describe",
    "description",
    "analyze",
    "analysis",
    "me",
    "nachricht",
    "anfrage",
];
const FIRST_PERSON: [&str; 4] = ["i", "i'm", "i've", "ich"];
/// What the one who answers cannot do.
const UNABLE: [&str; 33] = [
    "not see",
    "n't see",
    "see no",
    "not view",
    "n't view",
    "unable to see",
    "unable to view",
    "unable to access",
    "unable to process",
    "not able to see",
    "not able to view",
    "not access",
    "n't access",
    "not process",
    "n't process",
    "not have access",
    "n't have access",
    "n't have the ability",
    "not receive",
    "n't receive",
    "received no",
    "nicht sehen",
    "nicht ansehen",
    "nicht anzeigen",
    "nicht öffnen",
    "nicht verarbeiten",
    "nicht erhalten",
    "sehe kein",
    "sehe leider kein",
    "kann kein",
    "kann leider kein",
    "habe kein",
    "habe leider kein",
];
/// The same in languages whose verb names the person, and requests for an image.
const UNABLE_IN_FIRST_PERSON: [&str; 19] = [
    "je ne vois",
    "je ne peux pas",
    "no veo",
    "no puedo",
    "não vejo",
    "não consigo",
    "non vedo",
    "non posso",
    "没有看到",
    "没有收到",
    "看不到",
    "无法查看",
    "添付されていません",
    "見えません",
    "please upload the image",
    "please upload an image",
    "please provide the image",
    "please provide an image",
    "please share the image",
];

/// Whether one sentence of an answer that is no description states that there is no image.
pub(super) fn is_stated(answer: &str) -> bool {
    sentences(answer).any(|words| is_missing(&words) || is_unable(&words))
}

/// Whether a sentence of the title or summary of a description states that there was no image.
pub(super) fn is_stated_in_description(text: &str) -> bool {
    sentences(text).any(|words| is_missing(&words))
}

/// The words of each sentence, in lower case, with plain apostrophes.
fn sentences(text: &str) -> impl Iterator<Item = Vec<String>> {
    let text = text.to_lowercase().replace('’', "'");
    let sentences = text.split(['.', '!', '?', '\n', ';', '。', '！']);
    let words = sentences.map(|sentence| {
        let words = sentence.split(|c: char| !c.is_alphanumeric() && c != '\'');
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    });
    words.collect::<Vec<_>>().into_iter()
}

/// Whether a sentence says that the image was not sent: "It seems no image was attached to this message".
fn is_missing(words: &[String]) -> bool {
    match without(words, &OPENERS) {
        [no, image, rest @ ..] if is_one_of(no, &NO) && is_one_of(image, &IMAGES) => {
            is_not_sent(without(rest, &AUXILIARIES))
        }
        [image, rest @ ..] if is_one_of(image, &IMAGES) => match without(rest, &AUXILIARIES) {
            [not, rest @ ..] if is_one_of(not, &NOT) => is_not_sent(without(rest, &AUXILIARIES)),
            _ => false,
        },
        _ => false,
    }
}

/// Whether these are the last words of such a sentence: "attached", "attached to this message", "attached, so ...".
fn is_not_sent(words: &[String]) -> bool {
    match words {
        [sent, rest @ ..] if is_one_of(sent, &SENT) => {
            let begins_consequence = rest
                .first()
                .is_none_or(|word| is_one_of(word, &CONSEQUENCES));
            begins_consequence || rest.iter().any(|word| is_one_of(word, &MESSAGE))
        }
        _ => false,
    }
}

/// Whether the one who answers says in a sentence that it sees no image, or asks for one.
fn is_unable(words: &[String]) -> bool {
    let sentence = words.join(" ");
    let contains_any = |phrases: &[&str]| phrases.iter().any(|phrase| sentence.contains(phrase));
    let names_image =
        words.iter().any(|word| is_one_of(word, &IMAGES)) || contains_any(&UNSPACED_IMAGES);
    let is_first_person = words.iter().any(|word| is_one_of(word, &FIRST_PERSON));
    names_image
        && (is_first_person && contains_any(&UNABLE) || contains_any(&UNABLE_IN_FIRST_PERSON))
}

/// The words after the first ones that are in `list`.
fn without<'a>(words: &'a [String], list: &[&str]) -> &'a [String] {
    let skipped = words.iter().take_while(|word| is_one_of(word, list));
    &words[skipped.count()..]
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_an_image_are_recognised() {
        for answer in [
            "I'm sorry, but I can't see any image. Please upload the page you would like me to describe.",
            "I don’t see an image attached to your message.",
            "I see no image.",
            "As a text-based model I am unable to view pictures.",
            "It seems the image was not included.\nCould you share it?",
            "It looks like no image was attached to your message, so I cannot describe it.",
            "There is no picture attached to this message.",
            "Unfortunately, I haven't received an image.",
            "Could you help me? Please upload the image.",
            "Es wurde leider kein Bild übermittelt.",
            "Ich kann leider keine Bilder sehen.",
            "Das Bild wurde nicht mitgesendet.",
            "Je ne vois aucune image.",
            "No puedo ver ninguna imagen.",
            "我没有看到任何图片。",
        ] {
            assert!(is_stated(answer), "{answer}");
        }
    }

    #[test]
    fn ordinary_descriptions_and_other_refusals_are_not() {
        for answer in [
            "I am sorry, I cannot read that.",
            "I cannot see the page.",
            "Bright page: a drawing of one pump, with its motor.",
            "The image shows a valve. Seals are not included.",
            "The table does not include an image of the filter.",
            "A picture of the motor is not included in this section.",
            "No image of the valve is provided.",
            "The page lists spare parts; no image is included in the kit.",
            "The picture does not show the cover, which is not attached.",
            "What to do if you cannot see the image of the camera.",
            "If no image was provided by the camera, check the cable.",
            "No picture on the screen: please attach the cable.",
            "I see a table that does not include an image of the valve.",
            "Das Bild zeigt die Pumpe, aber nicht den Motor.",
            "Die Tabelle enthält kein Bild des Ventils.",
            "Ich sehe ein Bild der Pumpe; der Motor ist nicht angeschlossen.",
            "Kein Bild auf dem Monitor: Kabel prüfen.",
            "Wenn kein Bild übermittelt wurde, ist die Kamera nicht angeschlossen.",
            "Die Abbildung zeigt, wie die Dichtung nicht eingebaut werden darf.",
            "Die Bildschirmanzeige ist nicht beleuchtet.",
            "La page ne contient aucune image de la pompe.",
            "该页没有图片。",
        ] {
            assert!(!is_stated(answer), "{answer}");
        }
    }

    #[test]
    fn descriptions_state_that_no_image_was_sent() {
        for text in [
            "No image provided",
            "No image has been provided for analysis.",
            "The image was not provided, so its content is unknown.",
            "There is no image included in this request.",
            "Kein Bild übermittelt",
        ] {
            assert!(is_stated_in_description(text), "{text}");
        }
        for text in [
            "No picture on the screen",
            "What to do if you cannot see the image of the camera.",
            "I cannot see an image: what to check first.",
            "Spare parts, with no image provided for most of them.",
            "Error 12: image not provided by the camera.",
            "No image is included with the replacement label.",
            "Explains why no image is attached to a report.",
            "Fehlt das Bild, wurde es nicht gesendet.",
            "Warum kein Bild gesendet wurde",
        ] {
            assert!(!is_stated_in_description(text), "{text}");
        }
    }
}
