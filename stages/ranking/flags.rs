//! The flags that raters may set, in groups; a file may name others.

use pleach_runtime::fault::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// What a group's flags are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// One completion.
    #[default]
    Completion,
    /// The prompt, or all completions together.
    Prompt,
}

/// One flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Its name in files.
    pub name: String,
    /// What raters read.
    pub title: String,
}

/// Flags that belong together: what a reward may weigh or veto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name in files.
    pub name: String,
    /// What raters read.
    pub title: String,
    /// What its flags are about.
    #[serde(default)]
    pub on: On,
    /// The flags, at least one.
    pub flags: Vec<Flag>,
}

/// All flags of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// The groups, in the order shown.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
}

/// A group: name, title, what it is about, and its flags with their titles.
type Usual = (&'static str, &'static str, On, &'static [(&'static str, &'static str)]);

/// The flags of every store that names no others: InstructGPT's binary labels (arXiv 2203.02155, table 3) and
/// OpenAssistant's, sorted into the five groups. The first of each group is what the simulated rater sets.
const USUAL: [Usual; 6] = [
    (
        "safety",
        "Safety",
        On::Completion,
        &[
            ("helps_harm", "Helps with harm: violence, abuse, self-harm, crime"),
            ("harmful_advice", "Gives advice that would hurt somebody"),
            ("violent", "Violent content"),
            ("sexual", "Sexual content"),
            ("private", "Personal data of somebody"),
        ],
    ),
    (
        "bias",
        "Bias",
        On::Completion,
        &[("judges_group", "Judges people by their group"), ("takes_sides", "Takes sides where people disagree")],
    ),
    (
        "ethics",
        "Ethics",
        On::Completion,
        &[
            ("rude", "Rude or inappropriate"),
            ("moralises", "Moralises unasked"),
            ("manipulates", "Flatters, threatens or manipulates"),
        ],
    ),
    (
        "truth",
        "Truth",
        On::Completion,
        &[
            ("false", "Says something false"),
            ("made_up", "Makes up facts or sources"),
            ("contradicts", "Contradicts itself or the prompt"),
        ],
    ),
    (
        "task",
        "Task",
        On::Completion,
        &[
            ("fails_task", "Does not do what was asked"),
            ("breaks_constraint", "Breaks a constraint of the prompt"),
            ("needless_refusal", "Refuses without need"),
            ("wrong_language", "Wrong language"),
            ("rambles", "Rambles, repeats itself or breaks off"),
        ],
    ),
    (
        "item",
        "The whole item",
        On::Prompt,
        &[
            ("bad_prompt", "The prompt itself is bad"),
            ("all_bad", "All answers are bad"),
            ("sensitive", "Hard to read"),
        ],
    ),
];

impl Default for Flags {
    fn default() -> Flags {
        let flag = |(name, title): &(&str, &str)| Flag { name: (*name).into(), title: (*title).into() };
        let group = |(name, title, on, flags): &Usual| Group {
            name: (*name).into(),
            title: (*title).into(),
            on: *on,
            flags: flags.iter().map(flag).collect(),
        };
        Flags { groups: USUAL.iter().map(group).collect() }
    }
}

impl Flags {
    /// The flags of a file: TOML of `[[group]]` with `name`, `title`, `on` (completion or prompt) and `flags`, a list
    /// of `{ name, title }`; or the same as JSON.
    ///
    /// # Errors
    /// A refusal for a file that cannot be read or does not say that.
    pub fn read(path: &Path) -> Result<Flags, Refusal> {
        let hint = "write [[group]] tables with name, title and flags = [{ name = \"...\", title = \"...\" }]";
        let refuse = |why: String| {
            let what = format!("could not read the flags of {}", path.display());
            Refusal::new(what, why.trim().replace('\n', " "), hint)
        };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let flags: Flags = match path.extension().is_some_and(|extension| extension == "json") {
            true => serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?,
            false => toml::from_str(&text).map_err(|error| refuse(error.to_string()))?,
        };
        flags.check().map_err(refuse)?;
        Ok(flags)
    }

    /// Names that are whole and not twice.
    fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        let mut flags: Vec<&str> = self.all().map(|(_, flag)| flag.name.as_str()).collect();
        for names in [&mut names, &mut flags] {
            names.sort_unstable();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(format!("the name {:?} stands there twice", pair[0]));
            }
            if let Some(name) = names.iter().find(|name| super::item::check_name("flag's name", name).is_err()) {
                return Err(format!("{name:?} is no name"));
            }
        }
        match self.groups.iter().find(|group| group.flags.is_empty()) {
            Some(group) => Err(format!("the group {:?} has no flags", group.name)),
            None => Ok(()),
        }
    }

    /// All flags with their groups.
    pub fn all(&self) -> impl Iterator<Item = (&Group, &Flag)> {
        self.groups.iter().flat_map(|group| group.flags.iter().map(move |flag| (group, flag)))
    }

    /// The group of a flag.
    pub fn group_of(&self, name: &str) -> Option<&Group> {
        self.all().find(|(_, flag)| flag.name == name).map(|(group, _)| group)
    }

    /// The first flag of a group.
    pub fn first_of(&self, group: &str) -> Option<&str> {
        let group = self.groups.iter().find(|known| known.name == group)?;
        group.flags.first().map(|flag| flag.name.as_str())
    }

    /// Flags as they stand in a record: a list of names under the name of each group that has any.
    pub fn grouped(&self, names: &[String]) -> Map<String, Value> {
        let mut out = Map::new();
        for group in &self.groups {
            let set: Vec<Value> = group
                .flags
                .iter()
                .filter(|flag| names.contains(&flag.name))
                .map(|flag| flag.name.clone().into())
                .collect();
            if !set.is_empty() {
                out.insert(group.name.clone(), set.into());
            }
        }
        out
    }

    /// The names of a record's flags: lists under groups as [`Flags::grouped`] writes them, or a truth beside the name
    /// of a flag or group. What is known under no name here is given back as the second.
    pub fn named(&self, flags: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (key, value) in flags {
            let names: Vec<String> = match value {
                Value::Array(all) => all.iter().map(|one| one.as_str().unwrap_or("?").to_owned()).collect(),
                Value::Bool(true) => vec![self.first_of(key).unwrap_or(key).to_owned()],
                Value::Number(number) if number.as_f64().is_some_and(|number| number == 1.0) => {
                    vec![self.first_of(key).unwrap_or(key).to_owned()]
                }
                Value::Bool(false) | Value::Null => Vec::new(),
                Value::Number(number) if number.as_f64() == Some(0.0) => Vec::new(),
                _ => vec![key.clone()],
            };
            for name in names {
                let list = if self.group_of(&name).is_some() { &mut known } else { &mut unknown };
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
        (known, unknown)
    }
}
