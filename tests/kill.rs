//! kill -9 at random moments: the program, started again by the same command, ends with the bits of the calm run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program beside this test.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push(format!("pleach{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: build it first (cargo build -p pleach-tools)", path.display());
    path
}

fn write_pipeline(folder: &Path) {
    let text = "name = \"r\"\nseed = 5\ndevice = \"cpu\"\nthreads = 1\n[model]\nshape = \"gpt2\"\nlayers = 1\nwidth = 16\n\
                heads = 2\ncontext = 16\n[[stage]]\nkind = \"pretrain\"\ndata = \"world:40\"\ntokenizer = \"chars\"\n\
                batch = 4\nsteps = 12\nsave_every = 2\neval_every = 5\nvalid = 0.05\n";
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
}

/// Starts a worker without a guardian: it is the worker that is killed here.
fn start(folder: &Path) -> Child {
    Command::new(program())
        .args(["run", "pleach.toml", "--json"])
        .current_dir(folder)
        .env("PLEACH_WORKER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let calm = place.path().join("calm");
    write_pipeline(&calm);
    let began = std::time::Instant::now();
    assert!(start(&calm).wait().unwrap().success());
    let whole = began.elapsed();
    let expected = crate::recovery::bits(&calm.join("runs/r"));
    let kills: usize = if std::env::var_os("PLEACH_TORTURE").is_some() { 500 } else { 50 };
    let (mut done, mut run, mut state) = (0, 0, 0x9E37_79B9_7F4A_7C15u64);
    while done < kills {
        let folder = place.path().join(format!("killed{run}"));
        run += 1;
        write_pipeline(&folder);
        loop {
            // A xorshift: which moments are tried differs from run to run of this loop, not from test to test.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let wait = whole.as_micros() as u64 * (state % 1000) / 1000;
            let mut child = start(&folder);
            std::thread::sleep(Duration::from_micros(wait));
            if child.try_wait().unwrap().is_some_and(|status| status.success()) {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            done += 1;
            if done >= kills {
                break;
            }
        }
        assert!(start(&folder).wait().unwrap().success(), "after {done} kills the run goes on to its end");
        assert!(
            crate::recovery::bits(&folder.join("runs/r")) == expected,
            "after {done} kills the weights are the same"
        );
    }
}

/// A killed worker is taken up again by its guardian; the command never notices.
#[cfg(unix)]
#[test]
fn the_guardian_takes_a_killed_worker_up_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("guarded");
    write_pipeline(&folder);
    let text = std::fs::read_to_string(folder.join("pleach.toml")).unwrap().replace("steps = 12", "steps = 400");
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
    let mut guardian = Command::new(program())
        .args(["run", "pleach.toml", "--json"])
        .current_dir(&folder)
        .env_remove("PLEACH_WORKER")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lock = folder.join("runs/r");
    let worker = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let trained = std::fs::read_to_string(lock.join("journal.jsonl")).is_ok_and(|text| text.contains("\"step\""));
        if trained { pleach::runtime::store::RunLock::owner(&lock) } else { None }
    });
    let worker = worker.expect("a worker trains");
    assert_ne!(worker, guardian.id(), "the worker is another process");
    assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
    assert!(guardian.wait().unwrap().success(), "the guardian ends well");
    let journal = std::fs::read_to_string(lock.join("journal.jsonl")).unwrap();
    assert!(journal.matches("\"started\"").count() >= 2, "the run was taken up by a second process");
    assert!(journal.contains("\"finished\""));
}
