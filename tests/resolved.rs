//! resolved.toml: every value with where it truly comes from.

use pleach::pipeline::Pipeline;
use pleach::pipeline::resolved::{Frozen, FrozenStage, read, write};

#[test]
fn every_value_has_its_origin() {
    let text = "seed = 5\nthreads = 1\n[model]\nshape = \"gpt2\"\nn_layer = 2\ndropout = 0.1\n[[stage]]\n\
                data = \"world:40\"\nminutes = 3\nlr = 2e-3\nvault_every = 0\neval_every = 7\n";
    let mut pipeline = Pipeline::parse(text).unwrap();
    (pipeline.threads, pipeline.device) = (2, "cpu".into());
    pipeline.flags = vec!["threads", "device"];
    let config = pipeline.model.config(100).unwrap();
    let (steps_from, micro_from) = ("derived: 3 minutes".to_string(), "derived: as many as fit".to_string());
    let (wish, device) = ("auto".to_string(), "discrete Vulkan 1 A \"fast\" card".to_string());
    let stages = vec![FrozenStage { steps: 1000, steps_from, micro_rows: 8, micro_from }];
    let frozen = Frozen { wish, device, stages };
    let resolved = write(&pipeline, &config, &frozen);
    let lines: Vec<&str> = resolved.lines().collect();
    for line in [
        "name = \"run\" # default",
        "seed = 5 # pleach.toml",
        "threads = 2 # flag --threads",
        "device = \"cpu\" # flag --device",
        "vocab = 100 # derived: the tokenizer's",
        "shape = \"gpt2\" # pleach.toml",
        "layers = 2 # pleach.toml",
        "width = 256 # default",
        "heads = 4 # derived: from width and heads",
        "dropout = 0.1 # pleach.toml",
        "learning_rate = 0.002 # pleach.toml",
        "batch = 16 # default",
        "temperature = 0.8 # default",
        "top_p = 0.95 # default",
        "minutes = 3 # pleach.toml",
        "steps = 1000 # derived: 3 minutes",
        "micro_batch = 8 # derived: as many as fit",
        "warmup = 50 # derived: a twentieth of the steps, at most 200",
        "eval_every = 7 # pleach.toml",
        "sample_every = 200 # derived: a fifth of the steps",
        "vault_every = 10 # derived: a hundredth of the steps, at most 100",
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{resolved}");
    }
    assert!(!resolved.contains("epochs =") && !resolved.contains("depth ="), "{resolved}");
    let kept = read(&resolved).expect("it is read at the next start");
    assert_eq!((kept.stages[0].steps, kept.stages[0].micro_rows), (1000, 8));
    assert_eq!((kept.wish, kept.device), (frozen.wish, frozen.device));
}

#[test]
fn a_flag_of_the_command_is_no_default() {
    let place = tempfile::tempdir().unwrap();
    crate::kill::write_pipeline(place.path());
    let file = place.path().join("pleach.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("device = \"cpu\"\n", "");
    std::fs::write(&file, text).unwrap();
    let mut command = std::process::Command::new(crate::kill::program());
    let output = command.args(["run", "pleach.toml", "--device", "cpu"]).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let resolved = std::fs::read_to_string(place.path().join("runs/r/resolved.toml")).unwrap();
    assert!(resolved.contains("device = \"cpu\" # flag --device\n"), "{resolved}");
    assert!(resolved.contains("threads = 1 # pleach.toml\n"), "{resolved}");
}

/// A run goes on with the device of its first start, or waits for it: it is lost and not refused. Another wish of a
/// person wins, and is said.
#[test]
fn a_gpu_that_went_away_is_waited_for() {
    use pleach::launch::Launch;
    use pleach::runtime::device::choose::Chosen;
    use pleach::runtime::fault::FaultKind;
    let place = tempfile::tempdir().unwrap();
    let text = crate::recovery::toml(1, 0).replace("device = \"cpu\"", "device = \"auto\"");
    let here = crate::recovery::folder(place.path(), "run", &text);
    let launch = |text: &str| Launch::new(&Pipeline::parse(text).unwrap(), &here, &here, &mut |_| true).unwrap();
    let mut first = launch(&text);
    assert!(!first.known, "a first start");
    first.frozen.device = "discrete Vulkan 0 A card that went away".into();
    first.record(&text).unwrap();
    let again = launch(&text);
    assert!(again.known && again.changes.is_empty(), "{:?}", again.changes);
    assert_eq!(again.chosen.words().as_ref(), Some(&again.frozen.device));
    let fault = again.check_fit().unwrap_err();
    assert_eq!(fault.kind, FaultKind::DeviceLost, "{fault}");
    assert!(fault.what.contains("A card that went away"), "{fault}");
    let other = launch(&text.replace("device = \"auto\"", "device = \"cpu\""));
    assert_eq!((&other.chosen, other.known), (&Chosen::Cpu(Some(1)), false));
    assert!(other.changes.iter().any(|change| change.starts_with("device:")), "{:?}", other.changes);
    other.check_fit().unwrap();
}
