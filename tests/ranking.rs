//! Rankings by people: the store, the figures, the files, the page's door.

mod agreement;
mod command;
mod exchange;
mod kill;
mod routes;
mod store;

use pleach::data::records::{Message, Role, Said};
use pleach::ranking::{Answer, Completion, Item, Options, Store};
use serde_json::json;

/// An item of texts, with completions "a", "b", ... in this order.
fn item(id: &str, completions: usize) -> Item {
    let one = |index: usize| Completion {
        id: char::from(b'a' + index as u8).to_string(),
        said: Said::Text(format!("answer {index} to {id}")),
        origin: json!({"checkpoint": format!("step-{index}")}),
    };
    Item {
        id: id.into(),
        prompt: Said::Text(format!("question {id}?")),
        completions: (0..completions).map(one).collect(),
    }
}

/// An item of messages.
fn chat(id: &str, completions: usize) -> Item {
    let plain = item(id, completions);
    let mut prompt = vec![Message::new(Role::User, "Hello"), Message::new(Role::Assistant, "Yes?")];
    prompt.push(Message::new(Role::User, format!("question {id}?")));
    let said = |said: Said| Said::Messages(said.into_messages(Role::Assistant));
    let completions = plain.completions.into_iter().map(|one| Completion { said: said(one.said.clone()), ..one });
    Item { prompt: Said::Messages(prompt), completions: completions.collect(), ..plain }
}

/// An answer from words such as "b a=c".
fn order(words: &str) -> Answer {
    let group = |group: &str| group.split('=').map(str::to_owned).collect();
    Answer { order: words.split(' ').map(group).collect(), seconds: 2.0, ..Answer::default() }
}

/// A store without overlap and repeats.
fn plain(folder: &tempfile::TempDir, items: usize) -> Store {
    let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
    store.configure(&Options { overlap: 0.0, repeats: 0.0, ..Options::default() }).unwrap();
    let items: Vec<Item> = (0..items).map(|index| item(&format!("i{index}"), 3)).collect();
    store.add_items(&items).unwrap();
    store
}

/// Ranks the next item of a rater.
fn rank_next(store: &mut Store, rater: &str, answer: &Answer) -> String {
    let task = store.next(rater).unwrap().unwrap();
    store.submit(rater, task.assignment, task.revision + 1, answer).unwrap();
    task.item.id
}
