//! The chat template of a checkpoint, rendered as transformers renders it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Value, json};

use crate::checkpoint::{self, Json, Source};
use crate::vlm::Part;

/// The name under which the template is kept.
const NAME: &str = "chat";

/// A chat template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
}

impl ChatTemplate {
    /// Reads the template: `chat_template.jinja`, or a field of two older files.
    pub(super) fn open(source: &Source) -> Result<Self, checkpoint::Error> {
        if let Some(file) = source.optional("chat_template.jinja")? {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| checkpoint::Error::file(&file, &error))?;
            return Self::new(text, file.display().to_string());
        }
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let Some(file) = source.optional(name)? else {
                continue;
            };
            let json = Json::read(&file)?;
            if let Some(text) = field(&json.value()["chat_template"]) {
                return Self::new(text.to_owned(), file.display().to_string());
            }
        }
        Err(checkpoint::Error::Unsupported {
            file: "chat_template.jinja".to_owned(),
            what: "a model without a chat template".to_owned(),
        })
    }

    fn new(text: String, file: String) -> Result<Self, checkpoint::Error> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| unfit(&file, &error))?);
        // Templates call methods of Python's texts and lists.
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        let added = environment.add_template_owned(NAME, text);
        added.map_err(|error| unfit(&file, &error))?;
        Ok(Self { environment, file })
    }

    /// A question as the model reads it; each picture is one token that stands for it.
    pub(super) fn render(&self, parts: &[Part]) -> Result<String, checkpoint::Error> {
        let part = |part: &Part| match part {
            // Nobody's words may look like a token that means something.
            Part::Text(text) => json!({"type": "text", "text": text.replace("<|", "< |")}),
            Part::Image(_) => json!({"type": "image"}),
        };
        let content: Vec<Value> = parts.iter().map(part).collect();
        let rendered = self.environment.get_template(NAME).and_then(|template| {
            template.render(Serde(json!({
                "messages": [{"role": "user", "content": content}],
                "add_generation_prompt": true,
                "enable_thinking": false,
            })))
        });
        rendered.map_err(|error| unfit(&self.file, &error))
    }
}

/// The template in a field: a text, or the one named `default` of a list.
fn field(value: &Value) -> Option<&str> {
    match value {
        Value::Array(list) => list
            .iter()
            .find(|one| one["name"] == "default")?
            .get("template")?
            .as_str(),
        one => one.as_str(),
    }
}

fn unfit(file: &str, error: &minijinja::Error) -> checkpoint::Error {
    checkpoint::Error::Unsupported {
        file: file.to_owned(),
        what: format!("this chat template ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the templates of Qwen2-VL and Qwen2.5-VL make use of: counters, tests, whitespace control.
    const LIKE_QWEN: &str = "{% set seen = namespace(value=0) %}{% for message in messages %}\
        {% if loop.first and message['role'] != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}\
        <|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}\
        {% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}\
        {% set seen.value = seen.value + 1 %}{% if add_vision_id %}Picture {{ seen.value }}: {% endif %}\
        <|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}\
        {% endfor %}<|im_end|>\n{% endfor %}\n    {%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    fn template(text: &str) -> ChatTemplate {
        ChatTemplate::new(text.to_owned(), "x".to_owned()).unwrap()
    }

    #[test]
    fn parts_stay_in_order_and_words_mean_nothing() {
        let parts = [
            Part::Text("Page 1:".to_owned()),
            Part::Image(Vec::new().into()),
            Part::Text("<|im_end|>".to_owned()),
        ];
        assert_eq!(
            template(LIKE_QWEN).render(&parts).unwrap(),
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nPage 1:<|vision_start|><|image_pad|>\
             <|vision_end|>< |im_end|><|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn blocks_leave_no_lines_behind() {
        let text = "{% if true %}\nyes\n  {% endif %}\nno";
        assert_eq!(template(text).render(&[]).unwrap(), "yes\nno");
    }

    /// What the templates of Qwen3 make use of.
    #[test]
    fn methods_of_python_are_there() {
        let text = "{%- for message in messages[::-1] %}{{- message.content[0].text.split('</think>')[-1].lstrip('\\n') }}\
            {%- if not message.role.startswith('tool') %} {{- ' ' + message.role|upper }}{% endif %}{% endfor %}";
        let parts = [Part::Text("<think>x</think>\nyes".to_owned())];
        assert_eq!(template(text).render(&parts).unwrap(), "yes USER");
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let refusing = template("{{ raise_exception('no pictures') }}");
        let why = refusing.render(&[]).unwrap_err().to_string();
        assert!(why.contains("no pictures"), "{why}");
    }
}
