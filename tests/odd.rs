//! Runs on an odd disk, and of a stage whose data or loss goes wrong: the run lives, says so, and loses no bit.

use crate::recovery::{bits, drive, folder, launch, run, toml};
use pleach::runtime::actors::journal::{Base, JournalActor};
use pleach::runtime::bus::Numbered;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::layout::POLICY;
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, FaultKind};
use pleach::runtime::messages::JournalMessage;
use pleach::runtime::run::{RunEnd, RunPlan};
use pleach::runtime::stage::{Data, Evaluated, Loss, Memory, Numbers, Stage, Voice, Window};
use pleach::runtime::store::format::{Kind, encode};
use pleach::runtime::store::{Disk, Entry, Fill, Follower, MANIFEST, Reading, RunFolder, Store, read_manifest};
use pleach::runtime::supervise::{Behaviour, Deed, Failpoints};
use pleach::runtime::trainer::TrainerPlan;
use pleach_sync::Lock;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why an operation on a path is refused, if it is.
type Refuses = dyn Fn(&str, &Path) -> Option<ErrorKind> + Send + Sync;

/// The disk of this machine, which refuses an operation on a path as told.
struct OddDisk(Box<Refuses>);

impl OddDisk {
    fn ask(&self, operation: &str, path: &Path) -> io::Result<()> {
        (self.0)(operation, path).map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Store for OddDisk {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        Disk.list(folder)
    }
    fn read(&self, file: &Path, from: u64) -> io::Result<Reading> {
        Disk.read(file, from)
    }
    fn write(&self, file: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
        self.ask("write", file)?;
        Disk.write(file, fill)
    }
    fn append(&self, file: &Path, at: u64, bytes: &[u8], durable: bool) -> io::Result<()> {
        self.ask("append", file)?;
        Disk.append(file, at, bytes, durable)
    }
    fn make(&self, folder: &Path) -> io::Result<()> {
        Disk.make(folder)
    }
    fn sync(&self, folder: &Path) -> io::Result<()> {
        self.ask("sync", folder)?;
        Disk.sync(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn free(&self, folder: &Path) -> io::Result<Option<u64>> {
        Disk.free(folder)
    }
}

#[test]
fn a_disk_that_stalls_under_the_journal_kills_nobody() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "stalls", &text);
    let stalls = Failpoints::none().at("journal", "Note", 4, Deed::Delay(Duration::from_secs(7)));
    let plan = RunPlan { watch: Duration::from_secs(3), ..launch(&here, &text).run_plan(stalls) };
    let (end, events) = drive(plan);
    assert_eq!(end, RunEnd::Finished);
    let accused = events.iter().any(|event| matches!(event, Event::Trouble { what, .. } if what.contains("journal")));
    assert!(!accused, "{events:#?}");
}

#[test]
fn a_journal_is_opened_again_after_an_error() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal.jsonl");
    let refuses = Arc::new(Lock::new(false));
    let told = refuses.clone();
    let disk: Arc<dyn Store> = Arc::new(OddDisk(Box::new(move |operation, _| {
        (operation == "append" && *told.hold()).then_some(ErrorKind::TimedOut)
    })));
    let note = |actor: &mut JournalActor, number: u64| {
        let event = Event::Paused { why: number.to_string() };
        actor.handle(JournalMessage::Note(vec![Numbered { number, event }]))
    };
    let base = Base::default();
    let mut first = JournalActor::new(disk.clone(), &path, base.clone());
    note(&mut first, 0).unwrap();
    *refuses.hold() = true;
    note(&mut first, 1).unwrap_err();
    *refuses.hold() = false;
    // Another one writes meanwhile: what it wrote is found, not cut.
    let mut second = JournalActor::new(disk.clone(), &path, base);
    note(&mut second, 1).unwrap();
    note(&mut second, 2).unwrap();
    note(&mut first, 3).unwrap();
    let records = Follower::read_all(disk, &path).unwrap();
    let why: Vec<&str> = records.iter().map(|record| record.text("why")).collect();
    assert_eq!(why, ["0", "1", "2", "3"]);
}

#[test]
fn folders_above_the_run_need_not_sync() {
    use ErrorKind::{InvalidInput, Other, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("runs/r");
    let open = |kind, where_: PathBuf| {
        let odd = OddDisk(Box::new(move |operation, path| (operation == "sync" && path == where_).then_some(kind)));
        RunFolder::open(Arc::new(odd), &root).map(|_| ())
    };
    for kind in [InvalidInput, Unsupported, ReadOnlyFilesystem, PermissionDenied] {
        open(kind, place.path().to_path_buf()).unwrap_or_else(|fault| panic!("{kind:?}: {fault}"));
        open(kind, root.clone()).expect_err("the run's own folder must sync");
    }
    open(Other, place.path().to_path_buf()).expect_err("a disk that fails is told");
}

/// Once the ballast is there, the disk under the journal is full until the ballast is gone.
#[test]
fn the_end_is_written_on_a_full_disk() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "full", &text);
    let ballast = here.join("ballast");
    let full = move |operation: &str, path: &Path| {
        (operation == "append" && path.ends_with("journal.jsonl") && ballast.exists()).then_some(ErrorKind::StorageFull)
    };
    let plan =
        RunPlan { store: Arc::new(OddDisk(Box::new(full))), ..launch(&here, &text).run_plan(Failpoints::none()) };
    assert_eq!(drive(plan).0, RunEnd::Finished);
    let records = Follower::read_all(Arc::new(Disk), &here.join("journal.jsonl")).unwrap();
    let last = records.last().expect("the last words were written");
    assert_eq!((last.text("event"), last.text("how")), ("ended", "finished"));
    assert!(!here.join("ballast").exists());
}

#[test]
fn a_disk_that_refuses_the_model_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "refuses", &text);
    let full = || Deed::Error(Fault::new(FaultKind::DiskFull, "no space is left"));
    let refuses = Failpoints::none().at("checkpoint", "HandOn", 1, full()).at("checkpoint", "HandOn", 2, full());
    let (end, events) = run(&here, &text, refuses.clone());
    assert_eq!((end, refuses.left()), (RunEnd::Finished, 0));
    assert!(events.iter().any(|event| matches!(event, Event::Paused { .. })), "{events:#?}");
    assert!(events.contains(&Event::Resumed), "{events:#?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Rehired { .. })), "nobody died: {events:#?}");
}

#[test]
fn what_computed_a_checkpoint_is_compared_with_what_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "facts", &text);
    run(&here, &text, Failpoints::none());
    let trouble = |events: Vec<Event>| -> Vec<String> {
        let what = events.into_iter().filter_map(|event| match event {
            Event::Trouble { what, .. } => Some(what),
            _ => None,
        });
        what.collect()
    };
    // The stage's end is gone through again.
    let again = || drive(RunPlan { done: 0, ..launch(&here, &text).run_plan(Failpoints::none()) });
    assert_eq!(trouble(again().1), [""; 0], "the same machine and program");
    let stage = std::fs::read_dir(here.join("stages/01-pretrain")).unwrap();
    for newest in stage.map(|entry| entry.unwrap().path()).filter(|path| path.join(MANIFEST).is_file()) {
        let mut manifest = read_manifest(&Disk, &newest).unwrap();
        (manifest.facts.driver, manifest.facts.shaders) = ("of last year".into(), "others".into());
        let magic = *b"PLEACH MANIFEST\n";
        let kind = Kind { what: "manifest", magic, version: 1, oldest: 1, limit: 1 << 20 };
        std::fs::write(newest.join(MANIFEST), encode(&kind, &manifest).unwrap()).unwrap();
    }
    let (end, events) = again();
    assert_eq!(end, RunEnd::Finished);
    let told = trouble(events).join("; ");
    for part in ["driver: was \"of last year\"", "shaders: was \"others\""] {
        assert!(told.contains(part), "{part} is missing in {told:?}");
    }
}

#[test]
fn what_a_person_changed_is_in_the_journal() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "changed", &text);
    launch(&here, &text).record(&text).unwrap();
    let (_, events) = run(&here, &text.replace("vault_every = 3", "vault_every = 2"), Failpoints::none());
    let changed: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Changed { .. })).collect();
    let [Event::Changed { what }] = changed[..] else { panic!("one change is told: {changed:?}") };
    assert!(what.contains("vault_every"), "{what}");
    let records = Follower::read_all(Arc::new(Disk), &here.join("journal.jsonl")).unwrap();
    let written: Vec<&str> =
        records.iter().filter(|record| record.text("event") == "changed").map(|record| record.text("what")).collect();
    assert_eq!(written, [what]);
}

#[test]
fn copies_on_the_host_are_planned() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "host", &text);
    let launch = launch(&here, &text);
    let needs = launch.needs(0).unwrap();
    let plan = launch.run_plan(Failpoints::none());
    let blueprint = &plan.stages[0].trainer().unwrap().blueprint;
    let mut engine =
        Engine::new((plan.open)().unwrap(), &blueprint.roles, &blueprint.shapes, &blueprint.adamw).unwrap();
    engine.begin(POLICY, 1).unwrap();
    // Two in the vault, one on its way there.
    assert_eq!(needs.host, 3 * engine.state(POLICY).unwrap().bytes() as u64);
    assert!(needs.room.shared, "the cpu device has no memory of its own");
}

/// A stage whose data panics once at each of some windows, and whose loss is no number on others.
struct OddStage {
    inner: Arc<dyn Stage>,
    panics: Arc<Lock<Vec<u64>>>,
    spoilt: Arc<Vec<Window>>,
}

struct OddData(Box<dyn Data>, Arc<Lock<Vec<u64>>>);

struct OddLoss(Box<dyn Loss>, Arc<Vec<Window>>);

impl Data for OddData {
    fn window(&mut self, draw: u64) -> Result<Window, Fault> {
        let mut panics = self.1.hold();
        let planned = panics.len();
        panics.retain(|&at| at != draw);
        let now = panics.len() < planned;
        drop(panics);
        assert!(!now, "an odd window");
        self.0.window(draw)
    }
    fn evaluation_sets(&self) -> Vec<(String, usize)> {
        self.0.evaluation_sets()
    }
    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault> {
        self.0.evaluation(from, to)
    }
    fn token_bytes(&self) -> Arc<[u32]> {
        self.0.token_bytes()
    }
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

impl Loss for OddLoss {
    fn known(&self, window: &Window) -> Option<Numbers> {
        self.0.known(window)
    }
    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let evaluated = self.0.evaluate(window, numbers, memory)?;
        let loss = if self.1.contains(window) { f64::NAN } else { evaluated.loss };
        Ok(Evaluated { loss, ..evaluated })
    }
}

impl Stage for OddStage {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        Ok(Box::new(OddData(self.inner.data()?, self.panics.clone())))
    }
    fn loss(&self) -> Box<dyn Loss> {
        Box::new(OddLoss(self.inner.loss(), self.spoilt.clone()))
    }
    fn voice(&self) -> Voice {
        self.inner.voice()
    }
}

/// The run of a folder with an odd stage: which windows panic once, and which have no loss.
fn odd(folder: &Path, text: &str, panics: &[u64], spoilt: &[u64], failpoints: Failpoints) -> (RunEnd, Vec<Event>) {
    let plan = launch(folder, text).run_plan(failpoints);
    let trainer = plan.stages[0].trainer().unwrap().clone();
    let mut data = trainer.stage.data().unwrap();
    let spoilt = spoilt.iter().map(|&draw| data.window(draw).unwrap()).collect();
    let panics = Arc::new(Lock::new(panics.to_vec()));
    let stage = OddStage { inner: trainer.stage.clone(), panics, spoilt: Arc::new(spoilt) };
    let trainer = TrainerPlan { stage: Arc::new(stage), ..TrainerPlan::clone(&trainer) };
    drive(RunPlan { stages: vec![trainer.into()], ..plan })
}

#[test]
fn a_prefetch_thread_that_panics_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    run(&calm, &text, Failpoints::none());
    let here = folder(place.path(), "panics", &text);
    let (end, events) = odd(&here, &text, &[0, 5, 6], &[], Failpoints::none());
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    assert!(bits(&here) == bits(&calm));
}

#[test]
fn a_skipped_window_and_a_death_around_it_change_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    let (end, events) = odd(&calm, &text, &[], &[5], Failpoints::none());
    assert_eq!(end, RunEnd::Finished);
    let skipped =
        |events: &[Event]| events.iter().any(|event| matches!(event, Event::Skipped { step: 6, draw: 5, .. }));
    assert!(skipped(&events), "{events:#?}");
    let expected = bits(&calm);
    let points = [
        ("optimizer", "Skip", 1),
        ("loss", "Judge", 6),
        ("compute", "Learn", 6),
        ("compute", "Learn", 7),
        ("optimizer", "Update", 6),
        ("checkpoint", "Keep", 3),
    ];
    for (child, point, visit) in points {
        for deed in [Deed::Panic, Deed::PanicAfter] {
            let context = format!("{child} at {point}, visit {visit}, {deed:?}");
            let here = folder(place.path(), &context, &text);
            let dies = Failpoints::none().at(child, point, visit, deed);
            let (end, events) = odd(&here, &text, &[], &[5], dies.clone());
            assert_eq!((end, dies.left()), (RunEnd::Finished, 0), "{context}");
            assert!(skipped(&events), "{context}: {events:#?}");
            assert!(bits(&here) == expected, "{context}");
        }
    }
}

#[test]
fn the_third_skip_halts_the_run_and_a_death_there_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let (judged, saved) = (Failpoints::none(), Failpoints::none());
    let dies = [judged, saved.at("loss", "Judge", 9, Deed::PanicAfter)];
    let ends = dies.map(|dies| {
        let here = folder(place.path(), &format!("halts{}", dies.left()), &text);
        let (end, _) = odd(&here, &text, &[], &[4, 6, 8], dies.clone());
        assert_eq!((end.code(), dies.left()), (4, 0), "{end:?}");
        let RunEnd::Failed(fault) = end else { panic!("it halts") };
        assert!(fault.kind == FaultKind::Halted && fault.what.contains("3 of the last 9 windows"), "{fault}");
        // Two windows were skipped and six steps made; they are kept, and the windows mended, the run goes on.
        let (end, events) = odd(&here, &text, &[], &[], Failpoints::none());
        let from = events.iter().find_map(|event| match event {
            Event::StageStarted { step, from, .. } => Some((*step, from.as_str())),
            _ => None,
        });
        assert_eq!((end, from), (RunEnd::Finished, Some((6, "checkpoint"))));
        bits(&here)
    });
    assert!(ends[0] == ends[1]);
}
