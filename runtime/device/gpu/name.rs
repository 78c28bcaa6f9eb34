//! What an adapter is known by from one start to the next: its number may be another one's after a driver or a card
//! went away.

use super::adapter::{AdapterFacts, Kind};

/// An adapter by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it is made of.
    pub kind: Kind,
    /// Vulkan, Metal or Dx12: the same card computes other bits on another.
    pub backend: String,
    /// Which of several equal ones, from 0.
    pub nth: usize,
    /// Its own name.
    pub name: String,
}

/// Kinds and their words.
const KINDS: [(Kind, &str); 4] = [
    (Kind::Discrete, "discrete"),
    (Kind::Integrated, "integrated"),
    (Kind::Software, "software"),
    (Kind::Other, "other"),
];

impl Name {
    /// The name of the adapter at a place of the list of all.
    pub fn of(all: &[AdapterFacts], index: usize) -> Option<Name> {
        let facts = all.get(index)?;
        let mut name = Name { kind: facts.kind, backend: facts.backend.clone(), nth: 0, name: facts.name.clone() };
        name.nth = all[..index].iter().filter(|other| name.fits(other)).count();
        Some(name)
    }

    /// Its place in the list of all, where it is there.
    pub fn find(&self, all: &[AdapterFacts]) -> Option<usize> {
        let mut equals = all.iter().enumerate().filter(|(_, facts)| self.fits(facts));
        equals.nth(self.nth).map(|(index, _)| index)
    }

    fn fits(&self, facts: &AdapterFacts) -> bool {
        (facts.kind, &facts.backend, &facts.name) == (self.kind, &self.backend, &self.name)
    }

    /// From the words that it is shown in.
    pub fn parse(words: &str) -> Option<Name> {
        let mut parts = words.splitn(4, ' ');
        let word = parts.next()?;
        let kind = KINDS.iter().find(|(_, known)| *known == word)?.0;
        let (backend, nth) = (parts.next()?.to_string(), parts.next()?.parse().ok()?);
        Some(Name { kind, backend, nth, name: parts.next()?.to_string() })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("other", |(_, word)| word);
        write!(out, "{word} {} {} {}", self.backend, self.nth, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, kind: Kind, name: &str, backend: &str) -> AdapterFacts {
        AdapterFacts {
            index,
            name: name.into(),
            kind,
            backend: backend.into(),
            driver: String::new(),
            memory: None,
            binding_bytes: 0,
            buffer_bytes: 0,
            workgroup_bytes: 0,
            invocations: 0,
            storage_buffers: 0,
            f16: false,
            subgroups: None,
            matrices: Vec::new(),
            lacks: Vec::new(),
        }
    }

    #[test]
    fn an_adapter_is_found_by_what_it_is_wherever_it_stands() {
        let all = |cards: &[(&str, &str)]| -> Vec<AdapterFacts> {
            let cards = cards.iter().enumerate();
            cards.map(|(index, (name, backend))| adapter(index, Kind::Discrete, name, backend)).collect()
        };
        let machine = all(&[("A 1", "Vulkan"), ("B", "Vulkan"), ("A 1", "Vulkan"), ("A 1", "Dx12")]);
        for index in 0..machine.len() {
            let name = Name::of(&machine, index).expect("it is there");
            assert_eq!(name.find(&machine), Some(index));
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        let second = Name::of(&machine, 2).expect("it is there");
        assert_eq!(second.find(&machine[1..]), None, "one of two equal cards went away");
        let other = Name::of(&machine, 1).expect("it is there");
        assert_eq!(other.find(&machine[1..]), Some(0), "its number is another one now");
        assert_eq!(other.find(&machine[2..]), None, "another card has its number");
        assert_eq!(Name::parse("cpu"), None);
    }
}
