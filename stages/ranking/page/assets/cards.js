// The answers as cards: each is made once for an item, and moved about.

import { draggable } from "./drag.js";

/** Makes an element with properties and children. */
export function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
        if (key in element && key !== "list") element[key] = value;
        else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
}

/** The text of turns; a role stands before each turn where there are several kinds. */
export function turns(parts) {
    const named = parts.length > 1 || (parts[0]?.role && !["user", "assistant"].includes(parts[0].role));
    return parts.map(({ role, text }) => {
        const words = make("div", { className: "text", dir: "auto" }, text === "" ? "(nothing)" : text);
        return make("div", { className: `turn ${role}` }, ...(named && role ? [make("p", { className: "role" }, role)] : []), words);
    });
}

/** Check boxes of groups of flags. */
export function flagBoxes(groups, prefix, set, change) {
    return groups.map((group) => {
        const boxes = group.flags.map((flag) => {
            const box = make("input", { type: "checkbox", id: `${prefix}-${flag.name}`, checked: set.includes(flag.name) });
            box.addEventListener("change", () => change(flag.name, box.checked));
            return make("label", { className: "flag" }, box, make("span", {}, flag.title));
        });
        return make("fieldset", { className: `flags ${group.name}` }, make("legend", {}, group.title), ...boxes);
    });
}

const button = (label, glyph, act) => {
    const made = make("button", { type: "button", className: "small", title: label }, glyph);
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
};

/** A card for an answer. `does` has better, worse, tie, unrank, flag, comment, drop and say. */
export function makeCard(completion, number, flags, answer, does) {
    const { letter } = completion;
    const name = make("h4", { id: `name-${letter}`, className: "letter" }, letter);
    name.setAttribute("aria-label", `Answer ${letter}`);
    const rank = make("span", { className: "rank" });
    const flagButton = button(`Flags of ${letter} (F)`, "Flags", () => toggle(flagBox, flagButton));
    const commentButton = button(`Comment on ${letter} (C)`, "Comment", () => toggle(commentBox, commentButton));
    const moves = make(
        "span",
        { className: "moves" },
        button(`${letter} is better: one up ([)`, "\u2191", () => does.better(letter)),
        button(`${letter} is worse: one down (])`, "\u2193", () => does.worse(letter)),
        button(`${letter} equals the one above (=)`, "=", () => does.tie(letter)),
        button(`Take the rank of ${letter} away (0)`, "\u00d7", () => does.unrank(letter)),
    );
    const place = make("button", { type: "button", className: "small place" }, "Rank next");
    place.setAttribute("aria-label", `Rank next: ${letter} (Space)`);
    place.addEventListener("click", () => does.better(letter));
    const key = make("kbd", { title: `Key ${number}` }, String(number));
    const tools = make("span", { className: "tools" }, place, moves, flagButton, commentButton);
    const grip = make("span", { className: "grip" });
    grip.setAttribute("aria-hidden", "true");
    const head = make("div", { className: "head" }, grip, name, key, rank, tools);
    const body = make("div", { className: "body" }, ...turns(completion.parts));
    const chips = make("p", { className: "chips" });
    const completions = flags.filter((group) => group.on === "completion");
    const boxes = flagBoxes(completions, `flag-${letter}`, answer.flags[letter] ?? [], (flag, on) => does.flag(letter, flag, on));
    const flagBox = make("div", { className: "panel", hidden: true, id: `flags-${letter}` }, ...boxes);
    const text = make("textarea", { rows: 2, id: `comment-${letter}`, value: answer.comments[letter] ?? "" });
    text.addEventListener("input", () => does.comment(letter, text.value));
    const label = make("label", { htmlFor: text.id }, `What about answer ${letter}?`);
    const commentBox = make("div", { className: "panel", hidden: text.value === "", id: `comments-${letter}` }, label, text);
    flagButton.setAttribute("aria-expanded", "false");
    commentButton.setAttribute("aria-expanded", String(!commentBox.hidden));
    const card = make("article", { className: "card", tabIndex: 0, id: `card-${letter}` }, head, body, chips, flagBox, commentBox);
    card.setAttribute("aria-labelledby", name.id);
    const more = make("button", { type: "button", className: "small more", hidden: true }, "Show all");
    more.addEventListener("click", () => {
        more.textContent = body.classList.toggle("whole") ? "Show less" : "Show all";
    });
    body.after(more);
    draggable(card, letter, (where) => does.drop(letter, where), does.say);
    const open = (box, opener) => {
        if (box.hidden) toggle(box, opener);
        box.querySelector("input, textarea").focus();
    };
    return {
        card,
        openFlags: () => open(flagBox, flagButton),
        openComment: () => open(commentBox, commentButton),
        /** Shows what the answer says about this card. */
        show(now, words) {
            rank.textContent = words;
            card.classList.toggle("placed", words !== "");
            const set = now.flags[letter] ?? [];
            const titles = completions.flatMap((group) => group.flags.filter((flag) => set.includes(flag.name))
                .map((flag) => make("span", { className: "chip" }, `${group.title}: ${flag.title}`)));
            chips.replaceChildren(...titles);
            for (const box of flagBox.querySelectorAll("input")) box.checked = set.includes(box.id.slice(`flag-${letter}-`.length));
            const said = now.comments[letter] ?? "";
            if (text.value !== said) text.value = said;
            if (said !== "" && commentBox.hidden) toggle(commentBox, commentButton);
        },
        /** Offers to show all of a long text. */
        measure() {
            more.hidden = body.scrollHeight <= body.clientHeight + 4 && !body.classList.contains("whole");
        },
    };
}

function toggle(box, opener) {
    box.hidden = !box.hidden;
    opener.setAttribute("aria-expanded", String(!box.hidden));
}
