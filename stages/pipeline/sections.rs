//! The sections of a pipeline file: keys brought to our names, and a mistake told with its line and what was meant.

use super::Kind;
use super::WHAT;
use super::keys::{Key, MODEL, TOP};
use pleach_runtime::fault::Refusal;
use toml::{Table, Value};

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Above all tables.
    Top,
    /// `[model]`.
    Model,
    /// A `[[stage]]`: its kind, and which of them it is, from 0.
    Stage(Kind, usize),
}

impl Section {
    /// The keys that it may have.
    pub(super) fn keys(self) -> Vec<&'static Key> {
        match self {
            Section::Top => TOP.iter().collect(),
            Section::Model => MODEL.iter().collect(),
            Section::Stage(kind, _) => kind.keys().collect(),
        }
    }

    /// Where a key of it stands, and where it should.
    fn words(self) -> (&'static str, String) {
        match self {
            Section::Top => ("at the top of the file", "at the top of the file, above [model] and [[stage]]".into()),
            Section::Model => ("in [model]", "under [model]".into()),
            Section::Stage(kind, _) => ("in [[stage]]", format!("under [[stage]] of kind \"{}\"", kind.name())),
        }
    }

    /// The name of its table.
    fn table(self) -> &'static str {
        match self {
            Section::Top => "",
            Section::Model => "model",
            Section::Stage(..) => "stage",
        }
    }
}

/// Renames aliases to our names; refuses unknown keys and values of another kind or range. `text` is the whole file, to
/// find the line.
pub(super) fn normalise(table: &Table, section: Section, text: &str) -> Result<Table, Refusal> {
    let mut out = Table::new();
    for (written, value) in table {
        let Some(key) = section.keys().into_iter().find(|key| key.is(written)) else {
            return Err(unknown(written, value, section, text));
        };
        if !key.takes.fits(value) {
            let place = place(written, section, text);
            let detail = format!("{place}: {written} = {value} {}", section.words().0);
            return Err(Refusal::new(WHAT, detail, format!("{} takes {}", key.name, key.takes.words())));
        }
        if out.insert(key.name.to_string(), value.clone()).is_some() {
            let detail = format!("{} is said twice {} ({written} means the same)", key.name, section.words().0);
            return Err(Refusal::new(WHAT, detail, "keep one of the two"));
        }
    }
    Ok(out)
}

fn unknown(written: &str, value: &Value, section: Section, text: &str) -> Refusal {
    let place = place(written, section, text);
    let tables = value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_table));
    if section == Section::Top && (value.is_table() || tables) {
        let detail = format!("{place}: unknown table [{written}]");
        let near = |name| distance(written, name) <= 1 + written.len() / 3;
        let hint = match (near("model"), near("stage")) {
            (true, _) => "did you mean [model]?",
            (_, true) => "did you mean [[stage]]?",
            _ => "the tables of a pipeline file are [model] and [[stage]]",
        };
        return Refusal::new(WHAT, detail, hint);
    }
    let detail = format!("{place}: unknown key \"{written}\" {}", section.words().0);
    let stages = Kind::ALL.into_iter().map(|kind| Section::Stage(kind, 0));
    let home = [Section::Top, Section::Model]
        .into_iter()
        .chain(stages)
        .find(|other| other.keys().iter().any(|key| key.is(written)));
    let keys = section.keys();
    let nearest = keys
        .iter()
        .flat_map(|key| std::iter::once(&key.name).chain(key.aliases).map(|name| (*name, key.name)))
        .map(|(name, ours)| (distance(written, name), ours))
        .min();
    let hint = match (home, nearest) {
        (Some(home), _) => format!("\"{written}\" belongs {}", home.words().1),
        (_, Some((far, ours))) if far <= 1 + written.len() / 3 => format!("did you mean \"{ours}\"?"),
        _ => {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            format!("known keys: {}", known.join(", "))
        }
    };
    Refusal::new(WHAT, detail, hint)
}

/// "line 12", where the key stands in its section, else where it stands at all; of a table, its header.
pub(super) fn place(key: &str, section: Section, text: &str) -> String {
    let (mut table, mut here, mut anywhere) = ("", None, None);
    // Of several tables of a name, the one that is meant: which of them the line stands in.
    let (mut stages, wanted) = (0, if let Section::Stage(_, number) = section { number + 1 } else { 0 });
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            stages += usize::from(table == "stage");
            if table == key && section == Section::Top {
                here = here.or(Some(index));
            }
        }
        let bare = line.trim_start_matches(['"', '\'']);
        let rest = bare.strip_prefix(key).map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        if rest.is_some_and(|rest| rest.starts_with(['=', '.'])) {
            anywhere = anywhere.or(Some(index));
            if table == section.table() && (wanted == 0 || stages == wanted) {
                here = here.or(Some(index));
            }
        }
    }
    here.or(anywhere).map_or("somewhere".into(), |index| format!("line {}", index + 1))
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replace = corner + usize::from(ca != cb);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_answered_with_the_key_that_was_meant() {
        let text = "batch = 3\nlerning_rate = 1e-3\n";
        let table: Table = text.parse().expect("it is TOML");
        let refusal = normalise(&table, Section::Stage(Kind::Pretrain, 0), text).expect_err("the key is unknown");
        assert!(refusal.detail.contains("line 2"), "{refusal}");
        assert!(refusal.hint.contains("learning_rate"), "{refusal}");
    }

    #[test]
    fn aliases_are_taken_and_doubles_refused() {
        let text = "lr = 1e-3\nmax_steps = 10\n";
        let table: Table = text.parse().expect("it is TOML");
        let ours = normalise(&table, Section::Stage(Kind::Pretrain, 0), text).expect("aliases are known");
        assert!(ours.contains_key("learning_rate") && ours.contains_key("steps"));
        let text = "lr = 1e-3\nlearning_rate = 1e-3\n";
        let table: Table = text.parse().expect("it is TOML");
        assert!(normalise(&table, Section::Stage(Kind::Pretrain, 0), text).is_err());
    }
}
