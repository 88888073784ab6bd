//! Chat template of a checkpoint (Jinja), rendered as transformers does.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Value, json};

use crate::checkpoint::{self, Json, Source};
use crate::vlm::Part;

/// Name of the template in the environment.
const NAME: &str = "chat";

/// Parsed chat template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, or the field `chat_template` of two older files.
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
            if let Some(text) = template_of(&json.value()["chat_template"]) {
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
        environment.set_syntax(syntax.map_err(|error| unsupported(&file, &error))?);
        // Templates call methods of Python strings and lists.
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let added = environment.add_template_owned(NAME, text);
        added.map_err(|error| unsupported(&file, &error))?;
        Ok(Self { environment, file })
    }

    /// Renders the prompt of one user message; each image becomes one placeholder token.
    pub(super) fn render(&self, parts: &[Part]) -> Result<String, checkpoint::Error> {
        let part = |part: &Part| match part {
            // Text must not contain special tokens such as `<|im_end|>`.
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
        rendered.map_err(|error| unsupported(&self.file, &error))
    }
}

/// Template in the field `chat_template`: a string, or the entry named `default` of a list.
fn template_of(value: &Value) -> Option<&str> {
    match value {
        Value::Array(templates) => templates
            .iter()
            .find(|template| template["name"] == "default")?
            .get("template")?
            .as_str(),
        template => template.as_str(),
    }
}

fn unsupported(file: &str, error: &minijinja::Error) -> checkpoint::Error {
    checkpoint::Error::Unsupported {
        file: file.to_owned(),
        what: format!("this chat template ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses the features of the templates of Qwen2-VL and Qwen2.5-VL: counters, tests, whitespace control.
    const QWEN_LIKE: &str = "{% set seen = namespace(value=0) %}{% for message in messages %}\
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
    fn parts_stay_in_order_and_special_tokens_in_text_are_escaped() {
        let parts = [
            Part::Text("Page 1:".to_owned()),
            Part::Image(Vec::new().into()),
            Part::Text("<|im_end|>".to_owned()),
        ];
        assert_eq!(
            template(QWEN_LIKE).render(&parts).unwrap(),
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nPage 1:<|vision_start|><|image_pad|>\
             <|vision_end|>< |im_end|><|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn lines_of_blocks_are_trimmed() {
        let text = "{% if true %}\nyes\n  {% endif %}\nno";
        assert_eq!(template(text).render(&[]).unwrap(), "yes\nno");
    }

    /// Uses the Python methods of the templates of Qwen3.
    #[test]
    fn python_string_and_list_methods_are_supported() {
        let text = "{%- for message in messages[::-1] %}{{- message.content[0].text.split('</think>')[-1].lstrip('\\n') }}\
            {%- if not message.role.startswith('tool') %} {{- ' ' + message.role|upper }}{% endif %}{% endfor %}";
        let parts = [Part::Text("<think>x</think>\nyes".to_owned())];
        assert_eq!(template(text).render(&parts).unwrap(), "yes USER");
    }

    #[test]
    fn raise_exception_returns_its_message() {
        let refusing = template("{{ raise_exception('no images') }}");
        let error = refusing.render(&[]).unwrap_err().to_string();
        assert!(error.contains("no images"), "{error}");
    }
}
