//! A disk in memory that can fail at any operation, run full, and lose power: what was not synced is then dropped or
//! torn.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use pleach_runtime::store::{Entry, EntryKind, Fill, Reading, Store};

/// SplitMix64: the tests' own chance, the same in every run.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Which operation fails, counted from the moment the fault is set, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injected {
    pub(super) at: u64,
    /// Only that one, or all from it on.
    pub(super) once: bool,
    /// Whether the failing operation has its effect all the same. A failed sync never has: its pages count as clean
    /// then.
    pub(super) effect: bool,
    /// No fault but the end: the process dies or the power goes. What waits for its sync then still waits.
    pub(super) dies: bool,
}

impl Injected {
    /// The end before the n-th operation.
    pub(super) fn end(at: u64) -> Injected {
        Injected { at, once: false, effect: false, dies: true }
    }
}

/// Which syncs a careless store would forget; the tests prove that they would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forget {
    File,
    Folder,
    Rename,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Clone, Debug)]
enum Link {
    Add(String, usize),
    Gone(String),
    Move(String, String, usize),
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug)]
enum Node {
    File { durable: Arc<Vec<u8>>, now: Arc<Vec<u8>>, pending: Vec<Change> },
    Folder { durable: Names, now: Names, pending: Vec<Link> },
}

#[derive(Clone, Debug, Default)]
struct World {
    nodes: Vec<Node>,
    clock: u64,
    fault: Option<Injected>,
    hit: Option<PathBuf>,
    budget: Option<usize>,
    free: Option<u64>,
    forget: Option<Forget>,
}

/// The disk. Clones share it; [`Memory::copy`] does not.
#[derive(Clone)]
pub(super) struct Memory(Arc<Mutex<World>>);

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no {}", path.display()))
}

impl World {
    /// Counts an operation. Ok(true): do it; Ok(false): do it and fail; Err: fail without doing it.
    fn tick(&mut self, path: &Path) -> Result<bool, io::Error> {
        self.clock += 1;
        let Some(fault) = self.fault else { return Ok(true) };
        if self.clock == fault.at || (self.clock > fault.at && !fault.once) {
            self.hit.get_or_insert(path.to_path_buf());
            return if fault.effect { Ok(false) } else { Err(broken()) };
        }
        Ok(true)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.strip_prefix("/").unwrap().iter() {
            let Node::Folder { now, .. } = &self.nodes[at] else { return Err(missing(path)) };
            at = *now.get(part.to_str().unwrap()).ok_or_else(|| missing(path))?;
        }
        Ok(at)
    }

    fn folder_of(&mut self, path: &Path) -> io::Result<(&mut Names, &mut Vec<Link>, String)> {
        let at = self.find(path.parent().unwrap())?;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match &mut self.nodes[at] {
            Node::Folder { now, pending, .. } => Ok((now, pending, name)),
            Node::File { .. } => Err(missing(path)),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let id = self.nodes.len();
        let (now, pending, name) = self.folder_of(path)?;
        if now.contains_key(&name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there", path.display())));
        }
        now.insert(name.clone(), id);
        pending.push(Link::Add(name, id));
        self.nodes.push(node);
        Ok(id)
    }

    fn used(&self) -> usize {
        let mut left = vec![0];
        let mut sum = 0;
        while let Some(id) = left.pop() {
            match &self.nodes[id] {
                Node::File { now, .. } => sum += now.len(),
                Node::Folder { now, .. } => left.extend(now.values()),
            }
        }
        sum
    }

    fn extend(&mut self, id: usize, bytes: &[u8]) -> io::Result<()> {
        let room = self.budget.map_or(usize::MAX, |b| b.saturating_sub(self.used()));
        let part = &bytes[..bytes.len().min(room)];
        let Node::File { now, pending, .. } = &mut self.nodes[id] else { panic!("a folder is written to") };
        pending.push(Change::Write(now.len(), part.to_vec()));
        Arc::make_mut(now).extend_from_slice(part);
        if part.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, id: usize, forget: Forget, path: &Path) -> io::Result<()> {
        let ok = matches!(self.tick(path), Ok(true));
        let left = (ok && self.forget == Some(forget)) || (!ok && self.fault.is_some_and(|f| f.dies));
        // After a failed sync the cache still shows the changes, and no later sync brings them to the disk.
        match &mut self.nodes[id] {
            _ if left => {}
            Node::File { durable, pending, .. } => {
                for change in pending.drain(..).filter(|_| ok) {
                    apply(Arc::make_mut(durable), change);
                }
            }
            Node::Folder { durable, pending, .. } => {
                pending.drain(..).filter(|_| ok).for_each(|link| relink(durable, link));
            }
        }
        if ok { Ok(()) } else { Err(broken()) }
    }
}

fn broken() -> io::Error {
    io::Error::other("injected fault")
}

impl Memory {
    pub(super) fn new() -> Memory {
        let root = Node::Folder { durable: Names::new(), now: Names::new(), pending: Vec::new() };
        Memory(Arc::new(Mutex::new(World { nodes: vec![root], ..World::default() })))
    }
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
    pub(super) fn copy(&self) -> Memory {
        Memory(Arc::new(Mutex::new(self.world().clone())))
    }
    /// Sets a fault and starts the count of operations anew.
    pub(super) fn inject(&self, fault: Option<Injected>) {
        let mut world = self.world();
        (world.fault, world.clock, world.hit) = (fault, 0, None);
    }
    pub(super) fn forget(&self, what: Forget) {
        self.world().forget = Some(what);
    }
    /// Operations since the fault was set, and the file of the first that failed.
    pub(super) fn outcome(&self) -> (u64, Option<PathBuf>) {
        let world = self.world();
        (world.clock, world.hit.clone())
    }
    /// Bytes that files may have in all.
    pub(super) fn limit(&self, bytes: Option<usize>) {
        self.world().budget = bytes;
    }
    /// What [`Store::free`] answers.
    pub(super) fn tell_free(&self, bytes: Option<u64>) {
        self.world().free = bytes;
    }
    pub(super) fn used(&self) -> usize {
        self.world().used()
    }
    /// Changes the bytes of a file behind the program's back.
    pub(super) fn damage(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.find(file).unwrap();
        let Node::File { durable, now, .. } = &mut world.nodes[id] else { panic!("{} is a folder", file.display()) };
        change(Arc::make_mut(now));
        *durable = now.clone();
    }
    /// Every file and its bytes.
    pub(super) fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let world = self.world();
        let mut left = vec![(String::new(), 0)];
        let mut all = Vec::new();
        while let Some((path, id)) = left.pop() {
            match &world.nodes[id] {
                Node::File { now, .. } => all.push((path, now.to_vec())),
                Node::Folder { now, .. } => left.extend(now.iter().map(|(n, id)| (format!("{path}/{n}"), *id))),
            }
        }
        all.sort();
        all
    }

    fn made(&self, folder: &Path, parent: &Path, node: Node) -> io::Result<()> {
        let mut world = self.world();
        let whole = world.tick(folder)?;
        world.add(folder, node)?;
        if !whole {
            return Err(broken());
        }
        let parent_id = world.find(parent)?;
        world.sync(parent_id, Forget::Folder, parent)
    }

    /// What may be found after a power cut: of the changes not synced, each file and folder keeps some.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Memory {
        let mut world = self.world().clone();
        // Some cuts spare everything or nothing; most are unjust.
        let keep = [0, 100, 50, 80, 20][chance.below(5)];
        for node in &mut world.nodes {
            match node {
                Node::File { durable, now, pending } => {
                    let mut bytes = durable.to_vec();
                    for change in pending.drain(..) {
                        if chance.below(100) < keep {
                            apply(&mut bytes, harmed(change, chance));
                        }
                    }
                    *durable = Arc::new(bytes);
                    *now = durable.clone();
                }
                Node::Folder { durable, now, pending } => {
                    for link in pending.drain(..) {
                        if chance.below(100) < keep {
                            relink(durable, link);
                        }
                    }
                    *now = durable.clone();
                }
            }
        }
        (world.fault, world.forget) = (None, None);
        Memory(Arc::new(Mutex::new(world)))
    }
}

fn relink(names: &mut Names, link: Link) {
    match link {
        Link::Add(name, id) => drop(names.insert(name, id)),
        Link::Gone(name) => drop(names.remove(&name)),
        Link::Move(from, to, id) => {
            names.remove(&from);
            names.insert(to, id);
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    match change {
        Change::Cut(at) => bytes.truncate(at),
        Change::Write(at, part) => {
            bytes.resize(bytes.len().max(at + part.len()), 0);
            bytes[at..at + part.len()].copy_from_slice(&part);
        }
    }
}

/// A change as the disk may have it: whole, its first part, zeros of its length, or with a sector of noise.
fn harmed(change: Change, chance: &mut Chance) -> Change {
    let Change::Write(at, mut part) = change else { return change };
    match chance.below(5) {
        0 => part.truncate(chance.below(part.len() + 1)),
        1 => part.fill(0),
        2 if !part.is_empty() => {
            let from = chance.below(part.len());
            part.iter_mut().skip(from).take(512).for_each(|b| *b = chance.next() as u8);
        }
        _ => {}
    }
    Change::Write(at, part)
}

struct Bytes {
    disk: Memory,
    path: PathBuf,
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.disk.world().tick(&self.path)? {
            return Err(broken());
        }
        let n = into.len().min(self.bytes.len().saturating_sub(self.at));
        into[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

struct Writer<'a> {
    disk: &'a Memory,
    path: &'a Path,
    id: usize,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.disk.world();
        match world.tick(self.path) {
            Ok(true) => world.extend(self.id, bytes).map(|()| bytes.len()),
            Ok(false) => world.extend(self.id, bytes).and(Err(broken())),
            Err(e) => world.extend(self.id, &bytes[..bytes.len() / 2]).and(Err(e)),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store for Memory {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.world();
        if !world.tick(folder)? {
            return Err(broken());
        }
        let Node::Folder { now, .. } = &world.nodes[world.find(folder)?] else { return Err(missing(folder)) };
        let entry = |(name, id): (&String, &usize)| {
            let (len, kind) = match &world.nodes[*id] {
                Node::File { now, .. } => (now.len() as u64, EntryKind::File),
                Node::Folder { .. } => (0, EntryKind::Folder),
            };
            Entry { name: name.clone(), len, kind }
        };
        Ok(now.iter().map(entry).collect())
    }

    fn read(&self, file: &Path, from: u64) -> io::Result<Reading> {
        let mut world = self.world();
        if !world.tick(file)? {
            return Err(broken());
        }
        let Node::File { now, .. } = &world.nodes[world.find(file)?] else { return Err(missing(file)) };
        let (disk, path) = (self.clone(), file.to_path_buf());
        let body = Bytes { disk, path, bytes: now.clone(), at: from as usize };
        Ok(Reading { len: now.len() as u64, body: Box::new(body) })
    }

    fn write(&self, file: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
        let empty = Arc::new(Vec::new());
        let node = Node::File { durable: empty.clone(), now: empty, pending: Vec::new() };
        let id = {
            let mut world = self.world();
            let whole = world.tick(file)?;
            let id = world.add(file, node)?;
            if !whole {
                return Err(broken());
            }
            id
        };
        fill(&mut Writer { disk: self, path: file, id })?;
        self.world().sync(id, Forget::File, file)
    }

    fn append(&self, file: &Path, at: u64, bytes: &[u8], durable: bool) -> io::Result<()> {
        if self.world().find(file).is_err() {
            self.write(file, &mut |_| Ok(()))?;
        }
        let id = self.world().find(file)?;
        let at = at as usize;
        let mut world = self.world();
        let Node::File { now, pending, .. } = &mut world.nodes[id] else { return Err(missing(file)) };
        if now.len() < at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if now.len() > at {
            Arc::make_mut(now).truncate(at);
            pending.push(Change::Cut(at));
        }
        drop(world);
        Writer { disk: self, path: file, id }.write_all(bytes)?;
        if durable { self.world().sync(id, Forget::File, file) } else { Ok(()) }
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        if self.world().find(folder).is_ok() {
            return Ok(());
        }
        let parent = folder.parent().unwrap();
        self.make(parent)?;
        let node = Node::Folder { durable: Names::new(), now: Names::new(), pending: Vec::new() };
        let made = self.made(folder, parent, node);
        if made.is_err() {
            let _ = self.remove(folder);
        }
        made
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.world();
        let id = world.find(folder)?;
        world.sync(id, Forget::Folder, folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "renames stay within a folder");
        let mut world = self.world();
        let whole = world.tick(to)?;
        let id = world.find(from)?;
        if let Ok(old) = world.find(to) {
            assert!(matches!(world.nodes[old], Node::File { .. }), "a rename onto the folder {}", to.display());
        }
        let (now, pending, name) = world.folder_of(to)?;
        let old = from.file_name().unwrap().to_str().unwrap().to_owned();
        now.remove(&old);
        now.insert(name.clone(), id);
        pending.push(Link::Move(old, name, id));
        if !whole {
            return Err(broken());
        }
        let parent = to.parent().unwrap();
        let parent_id = world.find(parent)?;
        world.sync(parent_id, Forget::Rename, parent)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let whole = world.tick(path)?;
        let id = world.find(path)?;
        if matches!(&world.nodes[id], Node::Folder { now, .. } if !now.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (now, pending, name) = world.folder_of(path)?;
        now.remove(&name);
        pending.push(Link::Gone(name));
        if whole { Ok(()) } else { Err(broken()) }
    }

    fn free(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(self.world().free)
    }
}
