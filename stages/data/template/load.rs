//! Where a template comes from: a model's folder, or the program itself.

use super::{CHATML, PLAIN, Template};
use crate::data::tokenizer::Tokenizer;
use pleach_runtime::fault::Refusal;
use serde_json::Value;
use std::path::Path;

/// Largest `tokenizer_config.json` that is read, in bytes: those with an added vocabulary reach 5 MiB.
const MAX_CONFIG: u64 = 1 << 26;

/// Which template is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The model folder's own, else the built-in ChatML.
    #[default]
    Model,
    /// The model folder's own, else ChatML, else the plain one: for talking and measuring.
    Suited,
    /// The model folder's template of this name, such as `tool_use`.
    Named(String),
    /// The built-in ChatML.
    Chatml,
    /// The built-in plain one: turns after "Human:" and "Assistant:".
    Plain,
    /// A file of Jinja.
    File(std::path::PathBuf),
}

impl Source {
    /// A choice as it is written: `model`, `chatml`, `plain`, a file that ends in `.jinja`, or the name of one of the
    /// model's templates.
    pub fn parse(text: &str) -> Source {
        match text {
            "model" => Source::Model,
            "chatml" => Source::Chatml,
            "plain" => Source::Plain,
            file if Path::new(file).extension().is_some_and(|end| end == "jinja") => Source::File(file.into()),
            name => Source::Named(name.to_owned()),
        }
    }
}

impl Template {
    /// The template to talk to a model with: its folder's own, else ChatML, else the plain one.
    ///
    /// # Errors
    /// As [`Template::load`].
    pub fn suited(folder: &Path, tokenizer: &Tokenizer) -> Result<Template, Refusal> {
        match Template::load(&Source::Model, folder, tokenizer) {
            Err(_) if !Template::is_in(folder)? => Template::plain(tokenizer),
            found => found,
        }
    }

    /// Whether a model's folder has a default template of its own.
    ///
    /// # Errors
    /// A refusal where its `tokenizer_config.json` cannot be read.
    pub fn is_in(folder: &Path) -> Result<bool, Refusal> {
        Ok(folder.join("chat_template.jinja").is_file() || named(&config(folder)?, "default").is_some())
    }

    /// The built-in ChatML for a tokenizer. Where the tokenizer begins every text with BOS, so does the template: the
    /// exported folder then gives the same ids in transformers, which adds nothing to a rendered template.
    ///
    /// # Errors
    /// A refusal where the vocabulary does not hold ChatML's marks as single tokens.
    pub fn chatml(tokenizer: &Tokenizer) -> Result<Template, Refusal> {
        for mark in ["<|im_start|>", "<|im_end|>"] {
            let ids = tokenizer.encode_marked(mark)?;
            if ids.len() != 1 {
                let detail = format!("the vocabulary has no special token {mark}");
                let hint = "let the tokenizer be trained with chat marks, or use template = \"plain\"";
                return Err(Refusal::new("the built-in ChatML does not suit this tokenizer", detail, hint));
            }
        }
        let begins = tokenizer.bos().is_some_and(|bos| tokenizer.prefix().first() == Some(&bos));
        let source = if begins { format!("{{{{- bos_token }}}}\n{CHATML}") } else { CHATML.to_owned() };
        Template::new("ChatML (built in)", &source, of_tokenizer(tokenizer))
    }

    /// The built-in plain template for a tokenizer: the transcripts of hh-rlhf, each answer ended by EOS. It needs no
    /// special tokens but that one.
    ///
    /// # Errors
    /// A refusal where the vocabulary has no EOS: an answer would have no end.
    pub fn plain(tokenizer: &Tokenizer) -> Result<Template, Refusal> {
        if tokenizer.eos().is_none() {
            let hint = "take a tokenizer with an end-of-text token, or the model's own template";
            return Err(Refusal::new("the plain template needs an end of text", "the vocabulary has none", hint));
        }
        Template::new("plain (built in)", PLAIN, of_tokenizer(tokenizer))
    }

    /// The template that is meant, for the model in `folder`.
    ///
    /// In a folder `chat_template.jinja` goes before `tokenizer_config.json`; a named template stands in
    /// `additional_chat_templates/NAME.jinja` or in the list of `tokenizer_config.json`.
    ///
    /// # Errors
    /// A refusal where the template is not there, or cannot be read.
    pub fn load(source: &Source, folder: &Path, tokenizer: &Tokenizer) -> Result<Template, Refusal> {
        let name = match source {
            Source::Chatml => return Template::chatml(tokenizer),
            Source::Plain => return Template::plain(tokenizer),
            Source::Suited => return Template::suited(folder, tokenizer),
            Source::File(path) => {
                let specials = specials(&config(folder)?, tokenizer);
                return Template::new(&shown(path), &text(path)?, specials);
            }
            Source::Model => "default",
            Source::Named(name) => name,
        };
        let config = config(folder)?;
        let specials = specials(&config, tokenizer);
        let file = match name {
            "default" => folder.join("chat_template.jinja"),
            // A name is one component of a path, never a way out of the folder.
            name if name.contains(['/', '\\', '.']) => return Err(missing(folder, name, &config)),
            name => folder.join("additional_chat_templates").join(format!("{name}.jinja")),
        };
        if file.is_file() {
            return Template::new(&shown(&file), &text(&file)?, specials);
        }
        let found = named(&config, name);
        match (found, source) {
            (Some(template), _) => {
                let origin = format!("{} ({name})", shown(&folder.join("tokenizer_config.json")));
                Template::new(&origin, &template, specials)
            }
            (None, Source::Model) => Template::chatml(tokenizer),
            (None, _) => Err(missing(folder, name, &config)),
        }
    }
}

fn shown(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn text(path: &Path) -> Result<String, Refusal> {
    let refuse = |detail: String| {
        let hint = "give a UTF-8 file of Jinja, or leave it out to use the built-in ChatML";
        Refusal::new(format!("could not read the chat template {}", shown(path)), detail, hint)
    };
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > super::MAX_SOURCE as u64 {
        return Err(refuse(format!("it has {size} bytes; the limit is {}", super::MAX_SOURCE)));
    }
    std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))
}

/// The folder's `tokenizer_config.json`; null where there is none.
fn config(folder: &Path) -> Result<Value, Refusal> {
    let path = folder.join("tokenizer_config.json");
    let refuse = |detail: String| {
        let hint = "copy the file anew from where the model came from";
        Refusal::new(format!("could not read {}", shown(&path)), detail, hint)
    };
    let size = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(refuse(error.to_string())),
        Ok(about) => about.len(),
    };
    if size > MAX_CONFIG {
        return Err(refuse(format!("it has {size} bytes; the limit is {MAX_CONFIG}")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

/// The names of the templates in a config.
fn names(config: &Value) -> Vec<&str> {
    let all = config.get("chat_template").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|one| one.get("name")?.as_str()).collect()
}

/// A template of a config: one string is the default, a list has names.
fn named(config: &Value, name: &str) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) if name == "default" => Some(text.clone()),
        Value::Array(all) => {
            let one = all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))?;
            one.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn missing(folder: &Path, name: &str, config: &Value) -> Refusal {
    let there = names(config);
    let there = if there.is_empty() { "no named ones".into() } else { there.join(", ") };
    let detail = format!("{} has {there}", shown(folder));
    Refusal::new(format!("there is no chat template \"{name}\""), detail, "use one of these, or \"chatml\"")
}

/// BOS and EOS of a tokenizer by name.
fn of_tokenizer(tokenizer: &Tokenizer) -> Vec<(String, String)> {
    let named = |key: &str, id: Option<u32>| Some((key.to_owned(), tokenizer.name(id?)?));
    [named("bos_token", tokenizer.bos()), named("eos_token", tokenizer.eos())].into_iter().flatten().collect()
}

/// The special tokens that a config names; those of the tokenizer where it is silent.
fn specials(config: &Value, tokenizer: &Tokenizer) -> Vec<(String, String)> {
    let Some(map) = config.as_object() else { return of_tokenizer(tokenizer) };
    let mut found = Vec::new();
    for (key, value) in map.iter().filter(|(key, _)| key.ends_with("_token")) {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        if let Some(text) = text {
            found.push((key.clone(), text.to_owned()));
        }
    }
    for (key, text) in of_tokenizer(tokenizer) {
        // A config that says null means it: Qwen2 has no BOS.
        if !map.contains_key(&key) {
            found.push((key, text));
        }
    }
    found
}
