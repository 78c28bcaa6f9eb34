//! MODEL, wherever the program takes one: a model folder, a run (its best checkpoint, else its last), a checkpoint.

use crate::data::Tokenizer;
use crate::data::mask::{ChatEncoder, Turns};
use crate::data::template::Template;
use crate::pipeline::Kind;
use pleach_runtime::device::Device;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::layout::{AdamW, Layout, POLICY, Role, Shapes};
use pleach_runtime::engine::state::{HostState, HostTensor};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::model::families::{self, FAMILIES, Family};
use pleach_runtime::stage::Voice;
use pleach_runtime::store::{self, Disk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a config.json that are read at most.
const CONFIG_BYTES: u64 = 4 << 20;

/// A model with its tokenizer, on the host.
pub struct Model {
    /// Where it was found.
    pub folder: PathBuf,
    /// Its shape.
    pub config: ModelConfig,
    /// Its weights, without moments.
    pub state: HostState,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// What a model is without its weights.
pub struct Outline {
    /// Where it was found.
    pub folder: PathBuf,
    /// Its shape.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Model {
    /// Folder, shape and tokenizer of MODEL; its weights are not read.
    ///
    /// # Errors
    /// A refusal that names what is missing or damaged.
    pub fn outline(path: &Path) -> Result<Outline, Refusal> {
        let folder = resolve(path)?;
        let (config, _) = read_config(&folder)?;
        let tokenizer = Tokenizer::load(&folder)?;
        Ok(Outline { folder, config, tokenizer })
    }

    /// Opens MODEL.
    ///
    /// # Errors
    /// A refusal that names what is missing or damaged.
    pub fn open(path: &Path) -> Result<Model, Refusal> {
        let folder = resolve(path)?;
        verify(&folder)?;
        let (config, family) = read_config(&folder)?;
        let mut theirs = Vec::new();
        let files = store::model_files(&Disk, &folder).map_err(|damage| unreadable(&folder, &damage.to_string()))?;
        for file in files {
            let loaded = store::read_tensors(&Disk, &file, &mut |_| true);
            for t in loaded.map_err(|damage| unreadable(&file, &damage.to_string()))? {
                theirs.push(HostTensor { name: t.name, shape: t.shape, data: t.data });
            }
        }
        let weights = match family {
            Some(family) => families::import(family, &config, &theirs)?,
            None => families::check_own(&config, &theirs).map(|()| theirs)?,
        };
        let state = HostState { weights, ..HostState::default() };
        if !state.finite() {
            return Err(unreadable(&folder, "some weights are not finite numbers"));
        }
        let tokenizer = Tokenizer::load(&folder)?;
        Ok(Model { folder, config, state, tokenizer })
    }

    /// The model on a device, to continue `streams` prompts at once. A prompt and its continuation together have at
    /// most `longest` tokens, and the model's context bounds them.
    ///
    /// # Errors
    /// A refusal with exit code 3 where that does not fit the device, before anything is allocated there.
    pub fn generator(&self, device: Box<dyn Device>, streams: usize, longest: usize) -> Result<Engine, Fault> {
        let shapes = Shapes::generation(&self.config, streams, longest);
        self.engine(device, Role::generator(&self.config), &shapes)
    }

    /// The model on a device, to say its numbers for windows of `context` tokens, at most its own.
    ///
    /// # Errors
    /// A refusal with exit code 3 where that does not fit the device, before anything is allocated there.
    pub fn evaluator(&self, device: Box<dyn Device>, context: usize) -> Result<Engine, Fault> {
        let shapes = Shapes::evaluation(&self.config, context);
        self.engine(device, Role::reference(&self.config), &shapes)
    }

    fn engine(&self, device: Box<dyn Device>, role: Role, shapes: &Shapes) -> Result<Engine, Fault> {
        let (roles, adamw) = ([role], AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0 });
        let what = format!("the model \"{}\" does not fit the device", self.folder.display());
        let hint = "continue fewer prompts at once or shorter ones, take a smaller model, or another --device";
        let (persistent, activations) = Layout::predict(&roles, shapes, &adamw, &*device)
            .map_err(|refusal| Refusal { what: what.clone(), hint: hint.into(), ..refusal })?;
        if let Some(refusal) = device.room().refuse(persistent.saturating_add(activations), &what, hint) {
            return Err(refusal.into());
        }
        let mut engine = Engine::new(device, &roles, shapes, &adamw)?;
        engine.restore(POLICY, &self.state)?;
        Ok(engine)
    }
}

/// The shape of MODEL, without its weights.
///
/// # Errors
/// A refusal that names what is missing or damaged.
pub fn config(path: &Path) -> Result<ModelConfig, Refusal> {
    Ok(read_config(&resolve(path)?)?.0)
}

/// The folder of MODEL that holds config.json, tokenizer and weights.
///
/// # Errors
/// A refusal where there is none.
pub fn folder(path: &Path) -> Result<PathBuf, Refusal> {
    resolve(path)
}

/// Tokens that end what a model says: the end of a text, and of a turn where it has a chat template.
pub fn stops(tokenizer: &Tokenizer, template: Option<&Template>) -> Vec<u32> {
    let mut stops: Vec<u32> = tokenizer.eos().into_iter().collect();
    if let Some(template) = template {
        let turns = ChatEncoder::new(tokenizer, template, Turns::All).stops();
        stops.extend(turns.into_iter().filter(|id| tokenizer.eos().is_none_or(|eos| eos != *id)));
    }
    stops
}

/// How a model with this tokenizer and template speaks.
pub fn voice(tokenizer: &Arc<Tokenizer>, template: Option<&Template>, prompts: Vec<(String, Vec<u32>)>) -> Voice {
    let (files, eos, reads) = (tokenizer_files(tokenizer, template), stops(tokenizer, template), tokenizer.clone());
    Voice { files, prompts, eos, text: Some(Arc::new(move |tokens| reads.decode(tokens))) }
}

/// tokenizer.json and what goes with it in a model folder.
pub fn tokenizer_files(tokenizer: &Tokenizer, template: Option<&Template>) -> Vec<(String, Vec<u8>)> {
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.name(id)).map_or(serde_json::Value::Null, Into::into);
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": name(tokenizer.bos()),
        "eos_token": name(tokenizer.eos()),
        "clean_up_tokenization_spaces": false,
    });
    // One id, or all of them: transformers takes both.
    let ends = match stops(tokenizer, template).as_slice() {
        [one] => serde_json::json!(one),
        [] => serde_json::Value::Null,
        all => serde_json::json!(all),
    };
    let generation = serde_json::json!({
        "bos_token_id": tokenizer.bos(),
        "eos_token_id": ends,
        "do_sample": true,
        "temperature": 0.8,
        "top_p": 0.95,
    });
    let pretty = |value: &serde_json::Value| serde_json::to_vec_pretty(value).expect("a JSON value is JSON");
    let mut files = vec![
        ("tokenizer.json".to_string(), tokenizer.json().as_bytes().to_vec()),
        ("tokenizer_config.json".to_string(), pretty(&config)),
        ("generation_config.json".to_string(), pretty(&generation)),
    ];
    files.extend(template.map(|one| ("chat_template.jinja".to_string(), one.source().as_bytes().to_vec())));
    files
}

fn unreadable(path: &Path, detail: &str) -> Refusal {
    let hint = "name a model folder (config.json, model.safetensors, tokenizer.json), a run, or a checkpoint";
    Refusal::new(format!("could not open the model \"{}\"", path.display()), detail, hint)
}

/// A checkpoint's files against its manifest, all that a model is made of. A plain model folder has no manifest.
fn verify(folder: &Path) -> Result<(), Refusal> {
    let is_one = folder.file_name().and_then(|name| name.to_str()).and_then(store::parse_name).is_some();
    if !is_one && !folder.join(store::MANIFEST).exists() {
        return Ok(());
    }
    let needed = |name: &str| ![store::OPTIMIZER, store::STATE].contains(&name);
    let whole =
        store::read_manifest(&Disk, folder).and_then(|manifest| store::verify_files(&Disk, folder, &manifest, &needed));
    whole.map_err(|damage| {
        let what = format!("the checkpoint \"{}\" is damaged", folder.display());
        damage.refuse(what, "name another checkpoint or the model folder beside it; `pleach run` trains it anew")
    })
}

/// The folder that holds config.json and weights.
fn resolve(path: &Path) -> Result<PathBuf, Refusal> {
    if !path.exists() {
        return Err(unreadable(path, "there is no such file or folder"));
    }
    if path.is_file() {
        return Err(unreadable(path, "it is a file; this version opens folders"));
    }
    if path.join("config.json").is_file() {
        return Ok(path.to_path_buf());
    }
    if !path.join("stages").is_dir() {
        return Err(unreadable(path, "it has no config.json, and it is no run"));
    }
    let mut found = Vec::new();
    // The last stage that has a checkpoint of the model itself: a reward model is none to talk to.
    for stage in folders(&path.join("stages")).into_iter().rev() {
        for checkpoint in folders(&stage).into_iter().filter(|_| !is_of(&stage, Kind::Reward)) {
            let is_one = checkpoint.file_name().and_then(|n| n.to_str()).and_then(store::parse_name).is_some();
            if is_one && let Ok(manifest) = store::read_manifest(&Disk, &checkpoint) {
                found.push((manifest, checkpoint));
            }
        }
        if found.iter().any(|(manifest, _)| manifest.good) {
            break;
        }
    }
    found.retain(|(manifest, _)| manifest.good);
    let best = found.iter().filter(|(m, _)| m.validation.is_some());
    let best =
        best.min_by(|(a, _), (b, _)| a.validation.unwrap_or(f64::MAX).total_cmp(&b.validation.unwrap_or(f64::MAX)));
    match best.or(found.iter().max_by_key(|(manifest, _)| manifest.seq)) {
        Some((_, checkpoint)) => Ok(checkpoint.clone()),
        None => Err(unreadable(path, "the run has no checkpoint yet")),
    }
}

/// Is it the folder of a stage of this kind?
fn is_of(stage: &Path, kind: Kind) -> bool {
    let name = stage.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once('-').is_some_and(|(_, of)| of == kind.name())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut out: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()).collect();
    out.sort();
    out
}

/// config.json, and the family whose words it is written in; none for our own.
fn read_config(folder: &Path) -> Result<(ModelConfig, Option<&'static Family>), Refusal> {
    let file = folder.join("config.json");
    let size = std::fs::metadata(&file).map_err(|error| unreadable(&file, &error.to_string()))?.len();
    if size > CONFIG_BYTES {
        return Err(unreadable(&file, &format!("it has {size} bytes; a config.json is small")));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unreadable(&file, &format!("it is not JSON: {error}")))?;
    let kind = value.get("model_type").and_then(|kind| kind.as_str()).unwrap_or("");
    if kind == families::OWN {
        let own = value.get("pleach").cloned().unwrap_or_default();
        let config: ModelConfig =
            serde_json::from_value(own).map_err(|error| unreadable(&file, &format!("key \"pleach\": {error}")))?;
        config.check()?;
        return Ok((config, None));
    }
    match FAMILIES.iter().find(|family| family.model_type == kind) {
        Some(family) => Ok(((family.read_config)(&value)?, Some(*family))),
        None => {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
            Err(unreadable(&file, &format!("model_type \"{kind}\" is not one of {}", known.join(", "))))
        }
    }
}
