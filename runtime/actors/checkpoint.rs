//! Checkpoint: owns the store and the vault (last good states in host memory: recovery level 1). Its own thread.

use crate::engine::layout::Role;
use crate::engine::state::{HostState, HostTensor};
use crate::fault::{Fault, FaultKind, Refusal};
use crate::messages::{CheckpointMessage, CheckpointReply, Keeping, Keepsake};
use crate::model::config::ModelConfig;
use crate::model::families;
use crate::progress::{Progress, Saved};
use crate::round;
use crate::stage::Stage;
use crate::store::{self, Checkpoint, Damage, Loaded, RunFolder, Snapshot, TensorRef};
use crate::supervise::Behaviour;
use pleach_sync::{Reader, Vault};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The last good states in memory. It outlives the actor: what is in it is whole.
pub type StateVault = Vault<Option<Arc<Keepsake>>>;

/// States that lie in host memory at once, at most: two in the vault, and the next on its way there. Everything else
/// that comes and goes stays below the third: a save and the model that is handed on copy the weights while two states
/// lie there, and a resume holds a checkpoint twice while the vault is empty.
const STATES: u64 = 3;

/// Host bytes that a run holds of its model, beyond what its device holds: [`STATES`] of weights and two moments, f32.
pub fn host_bytes(config: &ModelConfig) -> u64 {
    STATES * 3 * 4 * crate::model::weights::parameters(config) as u64
}

/// The same of all models that a stage trains.
pub fn host_bytes_of(roles: &[Role]) -> u64 {
    roles.iter().filter(|role| role.trained).map(|role| host_bytes(&role.config)).sum()
}

/// What a state that is computed here and now is computed on, and by.
pub fn made_by(device: &crate::device::Facts) -> store::Facts {
    store::Facts {
        version: env!("CARGO_PKG_VERSION").to_string(),
        adapter: device.name.clone(),
        driver: device.driver.clone(),
        tiles: device.tiles.clone(),
        shaders: crate::device::shaders_hash(),
    }
}

/// The section of `state.bin` that holds the progress.
const PROGRESS: &str = "progress";
/// The section that holds an on-policy stage's round.
const ROUND: &str = "round";

/// The checkpoint actor's inside.
pub struct CheckpointActor {
    folder: RunFolder,
    vault: Arc<StateVault>,
    /// The stage that it keeps states for, once one began.
    keeping: Option<Arc<Keeping>>,
    /// What this actor has seen of the vault.
    reader: Reader,
}

impl CheckpointActor {
    /// Around an open run folder.
    pub fn new(folder: RunFolder, vault: Arc<StateVault>) -> CheckpointActor {
        CheckpointActor { folder, vault, keeping: None, reader: Reader::default() }
    }

    fn keeping(&self) -> Result<Arc<Keeping>, Fault> {
        let nothing = || Fault::new(FaultKind::Actor, "checkpoint was asked before a stage began");
        self.keeping.clone().ok_or_else(nothing)
    }

    fn keep(&mut self, keepsake: &Arc<Keepsake>) -> Result<(), Fault> {
        let beside = keepsake.beside.iter().all(|(_, state)| state.finite());
        if !keepsake.state.finite() || !beside {
            let what = format!("the weights at step {} are not all finite; they are not kept", keepsake.progress.step);
            return Err(Fault::new(FaultKind::Numbers, what));
        }
        self.vault.put(|slot| {
            *slot = Some(keepsake.clone());
            Ok::<(), Fault>(())
        })?;
        Ok(())
    }

    fn save(&mut self, keepsake: &Keepsake, milestone: bool, last: bool) -> Result<Saved, Fault> {
        let began = Instant::now();
        let (keeping, progress) = (self.keeping()?, &keepsake.progress);
        let tensors = exported(&keeping.config, &keepsake.state.weights);
        let mut state = vec![(PROGRESS.to_string(), progress.encode()?)];
        if let Some(round) = &keepsake.round {
            state.push((ROUND.to_string(), round::encode(round)?));
        }
        let snapshot = Snapshot {
            model: tensors.iter().map(|t| TensorRef::new(t.name.clone(), &t.shape, &t.data)).collect(),
            optimizer: moments(&keepsake.state),
            beside: keepsake.beside.iter().map(|(name, state)| (file_of(name), whole(state))).collect(),
            state,
            extras: keeping.files.clone(),
            finite: true,
            validation: progress.best.filter(|(_, step)| *step == progress.step).map(|(loss, _)| loss),
            milestone,
            last,
            facts: keepsake.facts.clone(),
            ..Snapshot::new(progress.step, keepsake.stage.clone())
        };
        let saved = self.folder.save(&snapshot)?;
        let bytes = saved.manifest.bytes();
        Ok(Saved { step: progress.step, name: saved.name, bytes, seconds: began.elapsed().as_secs_f64() })
    }

    /// The stage's newest state: the vault's, else the newest good checkpoint's. None where the stage has not begun, or
    /// where nothing of it is whole but the stage before it is: it is begun anew then, and what was lost is said.
    fn newest(&mut self) -> Result<CheckpointReply, Fault> {
        let keeping = self.keeping()?;
        let vault = self.vault.newest(&mut self.reader, |_, slot| slot.clone()).flatten();
        match vault {
            Some(keepsake) if keepsake.stage == keeping.folder => {
                return Ok(CheckpointReply::Newest { keepsake: Some(keepsake), from_vault: true, lost: Vec::new() });
            }
            // This process went through the stage before, and this one has left nothing in memory yet.
            Some(_) if !self.folder.checkpoints()?.iter().any(|(_, manifest)| manifest.stage == keeping.folder) => {
                return Ok(CheckpointReply::Newest { keepsake: None, from_vault: false, lost: Vec::new() });
            }
            _ => {}
        }
        let found = self.folder.recover()?;
        let lost: Vec<String> = found.words().into_iter().collect();
        let keepsake = match found.checkpoint {
            Some(checkpoint) if checkpoint.manifest.stage == keeping.folder => {
                Some(Arc::new(keepsake(&keeping, &checkpoint)?))
            }
            None if !lost.is_empty() => return Err(nothing_whole(&lost).into()),
            _ => None,
        };
        Ok(CheckpointReply::Newest { keepsake, from_vault: false, lost })
    }

    /// Writes `stages/NN-name/model` from the checkpoint of a step; where that is gone or damaged, from the best whole
    /// one that is left. Returns the folder, and what had to be passed over.
    fn hand_on(&mut self, step: Option<u64>) -> Result<(PathBuf, Vec<String>), Fault> {
        let store = self.folder.store();
        let mut all = self.folder.checkpoints()?;
        let keeping = self.keeping()?;
        all.retain(|(_, manifest)| manifest.good && manifest.stage == keeping.folder);
        let rank = |(_, m): &(PathBuf, store::Manifest)| {
            (Some(m.step) != step, m.validation.unwrap_or(f64::INFINITY), std::cmp::Reverse(m.seq))
        };
        all.sort_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
        let (mut passed, mut unread) = (Vec::new(), None);
        for (path, manifest) in &all {
            match store::load(&*store, path, false) {
                Ok(checkpoint) => {
                    if step.is_some_and(|step| step != manifest.step) {
                        passed.push(format!("the model is that of step {}, not the best one's", manifest.step));
                    }
                    let target = self.folder.stage(&keeping.folder).join("model");
                    let tensors: Vec<TensorRef<'_>> = checkpoint.model.iter().map(Loaded::borrow).collect();
                    store::write_model_folder(&*store, &target, &tensors, &keeping.files)?;
                    return Ok((target, passed));
                }
                Err(damage) => {
                    passed.push(format!("{}: {damage}", path.display()));
                    if let Damage::Unread(fault) = damage {
                        unread.get_or_insert(fault);
                    }
                }
            }
        }
        if let Some(fault) = unread {
            return Err(fault);
        }
        // Waiting mends no wrong bytes: the same command goes on from memory or trains what is missing again.
        let what = "there is no whole checkpoint to hand a model on from";
        let hint = "look at the disk; the same command goes on from the newest checkpoint that it can read";
        Err(Refusal::new(what, passed.join("; "), hint).with_code(1).into())
    }
}

impl Behaviour for CheckpointActor {
    type Message = CheckpointMessage;
    type Reply = CheckpointReply;

    fn handle(&mut self, message: CheckpointMessage) -> Result<CheckpointReply, Fault> {
        match message {
            CheckpointMessage::Begin(keeping) => {
                self.keeping = Some(keeping);
                Ok(CheckpointReply::Begun)
            }
            CheckpointMessage::Keep(keepsake) => self.keep(&keepsake).map(|()| CheckpointReply::Kept),
            CheckpointMessage::Save { keepsake, milestone, last } => {
                self.save(&keepsake, milestone, last).map(CheckpointReply::Saved)
            }
            CheckpointMessage::Newest => self.newest(),
            CheckpointMessage::HandOn { step } => {
                self.hand_on(step).map(|(folder, passed)| CheckpointReply::Folder { folder, passed })
            }
        }
    }
}

/// A checkpoint as it was kept.
fn keepsake(keeping: &Keeping, checkpoint: &Checkpoint) -> Result<Keepsake, Fault> {
    let bytes = checkpoint.section(PROGRESS).ok_or_else(|| {
        Fault::new(FaultKind::Disk, format!("{} has no progress record", checkpoint.folder.display()))
    })?;
    let weights = imported(&keeping.config, &checkpoint.model)?;
    let (first, second) = (named(&checkpoint.optimizer, ".m"), named(&checkpoint.optimizer, ".v"));
    let state = Arc::new(HostState { weights, first, second });
    let one = |(file, list): &(String, Vec<Loaded>)| {
        let plain = |t: &&Loaded| !t.name.ends_with(".m") && !t.name.ends_with(".v");
        let weights = list.iter().filter(plain).cloned().map(|t| tensor(t.name.clone(), t)).collect();
        let state = HostState { weights, first: named(list, ".m"), second: named(list, ".v") };
        (file.trim_end_matches(TENSORS).to_string(), Arc::new(state))
    };
    let beside = checkpoint.beside.iter().map(one).collect();
    let round = checkpoint.section(ROUND).map(round::decode).transpose()?.map(Arc::new);
    let (facts, stage) = (checkpoint.manifest.facts.clone(), keeping.folder.clone());
    Ok(Keepsake { stage, progress: Progress::decode(bytes)?, facts, state, beside, round })
}

/// How the file of a model beside the policy ends: `critic.safetensors`.
const TENSORS: &str = ".safetensors";

fn file_of(name: &str) -> String {
    format!("{name}{TENSORS}")
}

fn tensor(name: String, loaded: Loaded) -> HostTensor {
    HostTensor { name, shape: loaded.shape, data: loaded.data }
}

/// The tensors whose names end so, under what stands before it.
fn named(list: &[Loaded], suffix: &str) -> Vec<HostTensor> {
    let one = |t: &Loaded| t.name.strip_suffix(suffix).map(|name| tensor(name.to_string(), t.clone()));
    list.iter().filter_map(one).collect()
}

/// A state's moments, as they are written.
fn moments(state: &HostState) -> Vec<TensorRef<'_>> {
    let mut out = Vec::new();
    for (list, suffix) in [(&state.first, "m"), (&state.second, "v")] {
        out.extend(list.iter().map(|t| TensorRef::new(format!("{}.{suffix}", t.name), &t.shape, &t.data)));
    }
    out
}

/// A state in one file: weights under our names, then the moments.
fn whole(state: &HostState) -> Vec<TensorRef<'_>> {
    let weights = state.weights.iter().map(|t| TensorRef::new(t.name.clone(), &t.shape, &t.data));
    weights.chain(moments(state)).collect()
}

/// There are checkpoints and none of them is whole: to begin anew would look like a fresh run, and in time retention
/// would remove what a person may still mend.
fn nothing_whole(lost: &[String]) -> Refusal {
    let what = "could not go on: no checkpoint of this run is whole";
    let hint = "put a whole copy of a checkpoint's folder in its place (without \"bad-\" before its name), or begin \
                anew under another name; nothing was removed";
    Refusal::new(what, lost.join("; "), hint).with_code(1)
}

/// config.json and the stage's own files.
pub fn model_files(config: &ModelConfig, stage: &dyn Stage) -> Vec<(String, Vec<u8>)> {
    let value = match families::family_of(config) {
        Some(family) => (family.write_config)(config),
        None => serde_json::json!({"model_type": families::OWN, "pleach": config}),
    };
    let text = serde_json::to_vec_pretty(&value).expect("a JSON value is JSON");
    let mut out = vec![("config.json".to_string(), text)];
    out.extend(stage.voice().files);
    out
}

/// Weights under the family's names, or under ours where no family can say the model.
pub fn exported(config: &ModelConfig, weights: &[HostTensor]) -> Vec<HostTensor> {
    match families::family_of(config) {
        Some(family) => families::export(family, config, weights),
        None => weights.to_vec(),
    }
}

/// The way back.
pub fn imported(config: &ModelConfig, loaded: &[Loaded]) -> Result<Vec<HostTensor>, Fault> {
    let theirs: Vec<HostTensor> = loaded
        .iter()
        .map(|t| HostTensor { name: t.name.clone(), shape: t.shape.clone(), data: t.data.clone() })
        .collect();
    match families::family_of(config) {
        Some(family) => Ok(families::import(family, config, &theirs)?),
        None => Ok(theirs),
    }
}
