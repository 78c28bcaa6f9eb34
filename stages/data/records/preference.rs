//! Pairs of a better and a worse answer, and judged single answers, in all their clothes.

use super::chat::{alpaca_prompt, messages, said, sharegpt, tools, turn};
use super::field::{Wrong, number_if, object, text, truth};
use super::{Completion, Message, Pair, Role, Said, Unpaired};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// What begins a person's turn in a transcript.
const HUMAN: &str = "\n\nHuman:";
/// What begins the model's turn in a transcript.
const ASSISTANT: &str = "\n\nAssistant:";

/// Prompt and answer of one kind: where one of the two is messages, the other becomes messages too.
fn fit(prompt: Said, answer: Said) -> (Said, Said) {
    match (prompt, answer) {
        (Said::Text(prompt), Said::Text(answer)) => (Said::Text(prompt), Said::Text(answer)),
        (prompt, answer) => {
            (Said::Messages(prompt.into_messages(Role::User)), Said::Messages(answer.into_messages(Role::Assistant)))
        }
    }
}

/// `prompt` and `completion`.
pub(super) fn completion(map: &Object) -> Result<Completion, Wrong> {
    let (prompt, completion) = fit(said(map, "prompt")?, said(map, "completion")?);
    Ok(Completion { prompt, completion, tools: tools(map)? })
}

/// `question` and `answer`: two turns, for nothing says how they would be joined as text.
pub(super) fn question(map: &Object) -> Result<Completion, Wrong> {
    let said = |key, role| text(map, key, "").map(|words| Said::Messages(vec![Message::new(role, words)]));
    let (prompt, completion) = (said("question", Role::User)?, said("answer", Role::Assistant)?);
    Ok(Completion { prompt, completion, tools: None })
}

/// `prompt`, `completion` and `label`.
pub(super) fn unpaired(map: &Object) -> Result<Unpaired, Wrong> {
    let (prompt, completion) = fit(said(map, "prompt")?, said(map, "completion")?);
    Ok(Unpaired { prompt, completion, label: truth(map, "label", "")? })
}

/// Alpaca's record with `kto_tag`.
pub(super) fn alpaca_unpaired(map: &Object) -> Result<Unpaired, Wrong> {
    let answer = vec![Message::new(Role::Assistant, text(map, "output", "")?)];
    let prompt = Said::Messages(alpaca_prompt(map)?);
    Ok(Unpaired { prompt, completion: Said::Messages(answer), label: truth(map, "kto_tag", "")? })
}

/// Sharegpt's record with `kto_tag`: the last turn is judged.
pub(super) fn sharegpt_unpaired(map: &Object) -> Result<Unpaired, Wrong> {
    let mut messages = sharegpt(map)?.messages;
    let last = messages.pop().filter(|last| last.role == Role::Assistant && !messages.is_empty());
    let last = last.ok_or_else(|| {
        Wrong::words("conversations", "a prompt and an assistant's turn at the end", "another turn at the end")
    })?;
    let (prompt, completion) = (Said::Messages(messages), Said::Messages(vec![last]));
    Ok(Unpaired { prompt, completion, label: truth(map, "kto_tag", "")? })
}

/// `prompt`, `chosen` and `rejected`.
///
/// Where the answers are whole conversations that begin with the prompt, the prompt is what they share.
pub(super) fn preference(map: &Object) -> Result<Pair, Wrong> {
    let (prompt, chosen, rejected) = (said(map, "prompt")?, said(map, "chosen")?, said(map, "rejected")?);
    if let (Said::Messages(a), Said::Messages(b)) = (&chosen, &rejected) {
        let given = prompt.clone().into_messages(Role::User);
        let whole = |answer: &[Message]| {
            let turns = answer.iter().filter(|message| message.role != Role::System);
            let given = given.iter().filter(|message| message.role != Role::System);
            answer.len() > 1 && turns.zip(given).all(|(a, b)| a.role == b.role && a.content == b.content)
        };
        if whole(a) && whole(b) {
            return implicit(map);
        }
    }
    let (prompt_of_chosen, chosen) = fit(prompt.clone(), chosen);
    let (prompt_of_rejected, rejected) = fit(prompt, rejected);
    if prompt_of_chosen != prompt_of_rejected {
        let expected = "the same kind as chosen: both strings, or both messages";
        return Err(Wrong::at("rejected", expected, map.get("rejected")));
    }
    Ok(Pair { prompt: prompt_of_chosen, chosen, rejected, margin: number_if(map, "margin", "")?, tools: tools(map)? })
}

/// `chosen` and `rejected` alone: the prompt is what they share.
pub(super) fn implicit(map: &Object) -> Result<Pair, Wrong> {
    let margin = number_if(map, "margin", "")?;
    match (said(map, "chosen")?, said(map, "rejected")?) {
        (Said::Messages(chosen), Said::Messages(rejected)) => split(chosen, rejected, margin, tools(map)?),
        (Said::Text(chosen), Said::Text(rejected)) => {
            let shared = chosen.char_indices().zip(rejected.chars()).find(|((_, a), b)| a != b);
            let shared = shared.map_or(chosen.len().min(rejected.len()), |((at, _), _)| at);
            // A space belongs to the word that it stands before.
            let at = if chosen[..shared].ends_with(' ') { shared - 1 } else { shared };
            if at == 0 {
                let expected = "a beginning shared with chosen: that is the prompt";
                return Err(Wrong::at("rejected", expected, map.get("rejected")));
            }
            let answer = |text: &str| Said::Text(text[at..].to_owned());
            let prompt = Said::Text(chosen[..at].to_owned());
            Ok(Pair { prompt, chosen: answer(&chosen), rejected: answer(&rejected), margin, tools: None })
        }
        _ => Err(Wrong::at("rejected", "the same kind as chosen: both strings, or both messages", map.get("rejected"))),
    }
}

/// Two conversations as prompt and answers: the turns they share, but never the last one of either.
fn split(
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    margin: Option<f64>,
    tools: Option<Vec<Value>>,
) -> Result<Pair, Wrong> {
    let most = chosen.len().min(rejected.len()) - 1;
    let shared = chosen.iter().zip(&rejected).take(most).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        let expected = "a first turn shared with chosen: that is the prompt";
        return Err(Wrong::words("rejected", expected, "another beginning"));
    }
    let prompt = Said::Messages(chosen[..shared].to_vec());
    let answer = |messages: Vec<Message>| Said::Messages(messages[shared..].to_vec());
    Ok(Pair { prompt, chosen: answer(chosen), rejected: answer(rejected), margin, tools })
}

/// `chosen` and `rejected` as transcripts.
pub(super) fn transcripts(map: &Object) -> Result<Pair, Wrong> {
    let read = |key| transcript(text(map, key, "")?, key);
    split(read("chosen")?, read("rejected")?, None, None)
}

/// Whether a text is a transcript.
pub(super) fn is_transcript(text: &str) -> bool {
    text.starts_with(HUMAN) && text.contains(ASSISTANT)
}

/// The turns of "\n\nHuman: ... \n\nAssistant: ...".
pub(super) fn transcript(text: &str, at: &str) -> Result<Vec<Message>, Wrong> {
    let wrong = |found: &str| Wrong::words(at, "a transcript that begins with \"\\n\\nHuman:\"", found);
    let mut rest = text;
    let mut messages = Vec::new();
    if !rest.starts_with(HUMAN) {
        return Err(wrong(&format!("{:?}", text.chars().take(24).collect::<String>())));
    }
    while !rest.is_empty() {
        let (role, mark) = match rest.starts_with(HUMAN) {
            true => (Role::User, HUMAN),
            false => (Role::Assistant, ASSISTANT),
        };
        rest = &rest[mark.len()..];
        let next = [HUMAN, ASSISTANT].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
        messages.push(Message::new(role, rest[..next].trim()));
        rest = &rest[next..];
    }
    Ok(messages)
}

/// Alpaca's record with `chosen` and `rejected`.
pub(super) fn alpaca_pair(map: &Object) -> Result<Pair, Wrong> {
    let answer = |key| text(map, key, "").map(|words| Said::Messages(vec![Message::new(Role::Assistant, words)]));
    let prompt = Said::Messages(alpaca_prompt(map)?);
    let margin = number_if(map, "margin", "")?;
    Ok(Pair { prompt, chosen: answer("chosen")?, rejected: answer("rejected")?, margin, tools: tools(map)? })
}

/// Sharegpt's record with `chosen` and `rejected`.
pub(super) fn sharegpt_pair(map: &Object) -> Result<Pair, Wrong> {
    let answer = |key: &str| {
        let value = map.get(key).ok_or_else(|| Wrong::at(key, "a turn {\"from\", \"value\"}", None))?;
        match value {
            Value::Array(_) => messages(Some(value), key).map(Said::Messages),
            _ => object(value, key).and_then(|_| turn(value, key)).map(|one| Said::Messages(vec![one])),
        }
    };
    let prompt = sharegpt(map)?;
    let margin = number_if(map, "margin", "")?;
    let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
    Ok(Pair { prompt: Said::Messages(prompt.messages), chosen, rejected, margin, tools: prompt.tools })
}
