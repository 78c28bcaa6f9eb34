// The ranking page: one item at a time, every change kept.

import { allEqual, better, fromGroups, insert, placeOf, rankOf, tie, tieAbove, unrank, worse } from "./order.js";
import { flagBoxes, makeCard, turns } from "./cards.js";
import { Keeper, Refused, ask, insist } from "./keep.js";
import * as panels from "./panels.js";

const $ = (id) => document.getElementById(id);

/** Most steps of one item that can be undone. */
const STEPS = 200;

let site = null; // what does not change: rater, flags, mode
let task = null; // the item at hand
let answer = null; // what is said about it, as the server keeps it
let order = null; // answer.order as groups and pool
let cards = new Map();
let keeper = null;
let past = [];
let future = [];
let focused = null;
let laid = ""; // the order that the page shows
let looked = 0; // milliseconds that the item was looked at
let since = null;
let busy = false;
let gone = false; // the server does not answer

const letters = () => task.completions.map((one) => one.letter);
const blind = () => site.mode === "blind";
const empty = () => ({ order: [], skip: null, flags: {}, item_flags: [], comments: {}, comment: "", better: "", seconds: 0 });

function say(words) {
    $("said").textContent = words;
}

function trouble(words) {
    $("trouble").hidden = !words;
    $("trouble").textContent = words ?? "";
}

/** The time that somebody looked at the item so far, in seconds. */
function seconds() {
    const now = performance.now();
    if (since !== null) looked += now - since;
    since = document.visibilityState === "visible" ? now : null;
    return Math.round(looked / 100) / 10;
}

function kept(state, error) {
    // A change made while the server is away is not being saved there.
    if (gone && state === "saving") return;
    gone = state === "away";
    const words = { saving: "Saving ...", back: "Saving ...", saved: "All changes are saved", sending: "Sending ...", away: "Kept in this browser", refused: "" };
    $("kept").textContent = words[state];
    $("kept").className = `kept ${state}`;
    if (state === "away") trouble("The server does not answer. Go on: what you do is kept in this browser and sent when it is back.");
    else if (state === "refused") trouble(`${error.words.what}: ${error.words.detail}. ${error.words.hint}.`);
    else if (state === "saved") trouble(null);
}

/** Takes over a change: kept here, on the server, and undoable. */
function change(next, words, step = true) {
    if (step) {
        past = [...past, answer].slice(-STEPS);
        future = [];
    }
    answer = { ...answer, ...next, seconds: seconds() };
    order = fromGroups(answer.order, letters());
    keeper.save(answer);
    show();
    if (words) say(words);
}

function reorder(next, letter) {
    const moved = JSON.stringify(next.groups) !== JSON.stringify(order.groups);
    if (!moved) return say(`${letter} stays where it is`);
    const place = next.groups.findIndex((group) => group.includes(letter));
    const others = place < 0 ? [] : next.groups[place].filter((one) => one !== letter);
    const equal = others.length ? `, equal to ${others.join(" and ")}` : "";
    const words = place < 0 ? `${letter} has no rank now` : `${letter} moved to rank ${rankOf(next, place)} of ${letters().length}${equal}`;
    return change({ order: next.groups }, words);
}

const does = {
    better: (letter) => reorder(better(order, letter), letter),
    worse: (letter) => reorder(worse(order, letter), letter),
    tie: (letter) => reorder(tieAbove(order, letter), letter),
    unrank: (letter) => reorder(unrank(order, letter), letter),
    drop(letter, where) {
        if (where.kind === "pool") reorder(unrank(order, letter), letter);
        else if (where.kind === "tie") reorder(tie(order, letter, where.index), letter);
        else reorder(insert(order, letter, where.index), letter);
    },
    flag(letter, flag, on) {
        const set = (answer.flags[letter] ?? []).filter((one) => one !== flag);
        const flags = { ...answer.flags, [letter]: on ? [...set, flag] : set };
        if (flags[letter].length === 0) delete flags[letter];
        change({ flags }, `Flag ${on ? "set" : "taken away"} on ${letter}`);
    },
    comment(letter, text) {
        const comments = { ...answer.comments, [letter]: text };
        if (text === "") delete comments[letter];
        change({ comments }, null, false);
    },
    say,
};

const ORDINALS = ["", "Best", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];

/** Moves the cards to where the order has them. */
function show() {
    const before = new Map([...cards].map(([letter, { card }]) => [letter, card.getBoundingClientRect()]));
    const active = document.activeElement;
    for (const [letter, card] of cards) {
        const place = placeOf(order, letter);
        const equal = place >= 0 && order.groups[place].length > 1 ? ", equal" : "";
        card.show(answer, place < 0 || blind() ? "" : ORDINALS[rankOf(order, place)] + equal);
    }
    // Cards that stay are not touched: somebody may be writing in one.
    const layout = JSON.stringify(order);
    if (blind()) showBlind();
    else if (layout !== laid) showGroups();
    laid = layout;
    if (active?.isConnected && active !== document.activeElement && active.closest("#answers")) active.focus({ preventScroll: true });
    glide(before);
    const whole = order.pool.length === 0;
    $("submit").disabled = !whole || busy;
    $("undo").disabled = busy;
    $("redo").disabled = future.length === 0;
    $("pool-box").classList.toggle("empty", whole);
    $("how").textContent = whole ? "Submit with Enter." : blind() ? "Arrow keys choose, Enter submits." : how();
}

const how = () => (order.groups.length === 0
    ? "Drag answers, or press their numbers and Space. Dropped on each other they are equal."
    : `${order.pool.length} without a rank.`);

function showGroups() {
    const groups = order.groups.map((group, place) => {
        const rank = document.createElement("span");
        rank.className = "place";
        rank.textContent = rankOf(order, place);
        rank.setAttribute("aria-hidden", "true");
        const list = document.createElement("div");
        list.className = "equals";
        list.append(...group.map((letter) => cards.get(letter).card));
        const item = document.createElement("li");
        item.className = group.length > 1 ? "group tied" : "group";
        item.append(rank, list);
        return item;
    });
    $("ranking").replaceChildren(...groups);
    $("pool").replaceChildren(...order.pool.map((letter) => {
        const item = document.createElement("li");
        item.append(cards.get(letter).card);
        return item;
    }));
}

/** Both answers beside each other; what is chosen is marked. */
function showBlind() {
    if ($("pool").children.length === 0) $("pool").replaceChildren(...letters().map((letter) => {
        const item = document.createElement("li");
        item.append(cards.get(letter).card);
        return item;
    }));
    const [left, right] = letters().map((letter) => placeOf(order, letter));
    const pressed = { "pick-left": left === 0 && right === 1, "pick-equal": left === 0 && right === 0, "pick-right": right === 0 && left === 1 };
    for (const [id, on] of Object.entries(pressed)) $(id).setAttribute("aria-pressed", String(on));
}

/** Cards slide to their new places, unless less motion is wanted. */
function glide(before) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [letter, { card }] of cards) {
        const was = before.get(letter);
        const is = card.getBoundingClientRect();
        if (!was || was.width === 0) continue;
        const [x, y] = [was.left - is.left, was.top - is.top];
        if (x || y) card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 140, easing: "ease-out" });
    }
}

function pick(side) {
    const [left, right] = letters();
    const groups = { left: [[left], [right]], equal: [[left, right]], right: [[right], [left]] }[side];
    const words = { left: "Left is better", equal: "Both are equal", right: "Right is better" }[side];
    change({ order: groups }, `${words}. Enter submits.`);
}

/** Puts an item on the page. */
function begin({ task: next, progress }) {
    task = next;
    far(progress);
    $("work").hidden = $("bar").hidden = task === null;
    $("rest").hidden = task !== null;
    past = [];
    future = [];
    focused = null;
    if (task === null) {
        const skipped = progress.skipped ? `, ${progress.skipped} skipped` : "";
        $("rest-words").textContent = `Thank you. You answered ${progress.ranked} items${skipped}. Everything is saved; you may close this window.`;
        keeper = null;
        say("Nothing is left for you");
        return;
    }
    keeper = new Keeper(`pleach-rank/${site.store}/${site.rater}`, task.assignment, task.revision, kept);
    const local = keeper.local();
    answer = { ...empty(), ...task.draft, ...local?.answer, skip: null };
    order = fromGroups(answer.order, letters());
    looked = 1000 * answer.seconds;
    since = document.visibilityState === "visible" ? performance.now() : null;
    $("prompt").replaceChildren(...turns(task.prompt));
    $("note-text").value = answer.comment;
    $("better-text").value = answer.better;
    $("note").open = answer.comment !== "" || answer.item_flags.length > 0;
    $("better").open = answer.better !== "";
    showItemFlags();
    cards = new Map(task.completions.map((one, index) => [one.letter, makeCard(one, index + 1, site.flags, answer, does)]));
    $("pool").replaceChildren();
    laid = "";
    show();
    for (const card of cards.values()) card.measure();
    kept("saved");
    window.scrollTo(0, 0);
    if (local?.submit) {
        answer = { ...answer, skip: local.answer.skip };
        submit();
    } else if (local) {
        keeper.revision = local.revision;
        keeper.save(answer);
        say("Your unsent changes are back");
    } else {
        say(`A new item with ${task.completions.length} answers`);
    }
}

function showItemFlags() {
    const flip = (flag, on) => {
        const set = answer.item_flags.filter((one) => one !== flag);
        change({ item_flags: on ? [...set, flag] : set }, `Flag ${on ? "set" : "taken away"}`);
    };
    $("item-flags").replaceChildren(...flagBoxes(site.flags.filter((group) => group.on === "prompt"), "item", answer.item_flags, flip));
}

/** What undo and redo bring back: texts have an undo of their own. */
const withoutTexts = ({ order: groups, flags, item_flags }) => ({ order: groups, flags, item_flags });

function far({ ranked, skipped, seconds: median, rankings, missing, enough }) {
    const all = rankings + missing;
    $("done").style.width = `${all ? (100 * rankings) / all : 0}%`;
    $("track").setAttribute("aria-valuemax", Math.max(all, 1));
    $("track").setAttribute("aria-valuenow", rankings);
    const minutes = median ? Math.ceil((median * missing) / 60) : null;
    const left = missing ? `${missing} to go${minutes ? `, about ${minutes} min` : ""}` : "all are answered";
    const marked = enough ? (rankings >= enough ? "; enough to go on" : `; ${enough - rankings} more are enough to go on`) : "";
    $("far").textContent = `You: ${ranked}${skipped ? ` and ${skipped} skipped` : ""}. Everybody: ${rankings}, ${left}${marked}`;
}

async function submit() {
    if (busy || !task || (order.pool.length > 0 && !answer.skip)) {
        if (task && !busy) say(`${order.pool.join(", ")} without a rank`);
        return;
    }
    busy = true;
    answer = { ...answer, seconds: seconds() };
    show();
    try {
        const next = await keeper.submit(answer);
        busy = false;
        begin(next);
    } catch (error) {
        await astray(error);
    }
}

/** The server refused: what it has is shown again. */
async function astray(error) {
    busy = false;
    const words = error instanceof Refused ? error.words : { what: error.message, detail: "", hint: "" };
    if (error.status === 401) return trouble("This window is no longer let in. Open a new address from `pleach rank`; what you did is kept.");
    if (error.status === 409 && keeper) localStorage.removeItem(keeper.key);
    begin(await insist("/api/next", {}, () => {}));
    return trouble(`${words.what}. ${words.detail}.`);
}

async function skip() {
    const why = await panels.whySkip();
    if (!why || busy) return;
    answer = { ...answer, skip: why };
    await submit();
}

async function undo() {
    if (busy) return;
    if (task && past.length > 0) {
        future = [answer, ...future];
        const last = past[past.length - 1];
        past = past.slice(0, -1);
        change(withoutTexts(last), "Undone", false);
        showItemFlags();
        return;
    }
    try {
        busy = true;
        if (keeper) await keeper.busy;
        const last = await ask("/api/undo", {});
        busy = false;
        begin(last);
        say("Your last answer is open again");
    } catch (error) {
        busy = false;
        say(error instanceof Refused ? `${error.words.what}: ${error.words.detail}` : "The server does not answer");
    }
}

function redo() {
    if (busy || future.length === 0) return;
    const [next, ...rest] = future;
    past = [...past, answer];
    future = rest;
    change(withoutTexts(next), "Done again", false);
    showItemFlags();
}

/** The letters from top to bottom as they stand on the page. */
const onPage = () => (blind() ? letters() : [...order.groups.flat(), ...order.pool]);

function go(letter) {
    focused = letter;
    const { card } = cards.get(letter);
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function step(by) {
    const all = onPage();
    const at = all.indexOf(focused);
    go(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]);
}

function field(details, text) {
    $(details).open = true;
    $(text).focus();
}

/** What single keys do, with a card in focus or without. */
function single(event) {
    const card = focused && cards.get(focused);
    const onCard = {
        " ": () => does.better(focused),
        "[": () => does.better(focused),
        "]": () => does.worse(focused),
        "=": () => does.tie(focused),
        0: () => does.unrank(focused),
        u: () => does.unrank(focused),
        f: () => card.openFlags(),
        c: () => card.openComment(),
    };
    const moves = event.shiftKey ? { ArrowUp: onCard["["], ArrowDown: onCard["]"] } : { ArrowUp: () => step(-1), ArrowDown: () => step(1) };
    const sides = { ArrowLeft: () => pick("left"), ArrowDown: () => pick("equal"), ArrowRight: () => pick("right") };
    const always = {
        ...(blind() ? sides : moves),
        j: () => step(1),
        k: () => step(-1),
        p: () => field("note", "note-text"),
        b: () => field("better", "better-text"),
        s: skip,
        z: undo,
        y: redo,
        g: () => panels.open("guidelines"),
        a: panels.showAgreement,
        "?": () => panels.open("keys"),
        Enter: submit,
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (/^[1-9]$/.test(key)) return letters()[key - 1] && (() => go(letters()[key - 1]));
    if (blind() && [" ", "[", "]", "=", "0", "u"].includes(key)) return undefined;
    if (card && Object.hasOwn(onCard, key)) return onCard[key];
    if (Object.hasOwn(always, key)) return event.shiftKey && moves[key] === always[key] && !card ? undefined : always[key];
    return undefined;
}

function onKey(event) {
    if (document.querySelector("dialog[open]")) return;
    const { target } = event;
    const typing = target.matches("textarea, input:not([type=checkbox])");
    if (event.key === "Escape" && typing) {
        (target.closest(".card") ?? $("answers")).focus();
        return;
    }
    const strong = event.ctrlKey || event.metaKey;
    if (strong && event.key === "Enter") {
        event.preventDefault();
        submit();
    } else if (strong && !typing && ["z", "y"].includes(event.key.toLowerCase())) {
        event.preventDefault();
        if (event.key.toLowerCase() === "y" || event.shiftKey) redo();
        else undo();
    }
    if (strong || event.altKey || typing || !$("single").checked) return;
    if (target.matches("button, summary, a, input") && ["Enter", " "].includes(event.key)) return;
    if (!task) {
        if (event.key === "z") undo();
        return;
    }
    const act = single(event);
    if (!act) return;
    event.preventDefault();
    act();
}

function listen() {
    document.addEventListener("keydown", onKey);
    document.addEventListener("focusin", (event) => {
        const card = event.target.closest?.(".card");
        if (card) focused = card.id.slice("card-".length);
    });
    document.addEventListener("visibilitychange", () => task && seconds());
    const acts = { submit, skip, undo, redo, "rest-undo": undo };
    for (const [id, act] of Object.entries(acts)) $(id).addEventListener("click", act);
    for (const side of ["left", "equal", "right"]) $(`pick-${side}`).addEventListener("click", () => pick(side));
    $("tie-all").addEventListener("click", () => change({ order: allEqual(letters()).groups }, "All answers are equal"));
    $("again").addEventListener("click", async () => begin(await insist("/api/next", {}, () => {})));
    $("note-text").addEventListener("input", () => change({ comment: $("note-text").value }, null, false));
    $("better-text").addEventListener("input", () => change({ better: $("better-text").value }, null, false));
}

async function start() {
    site = await insist("/api/state", undefined, (away) => trouble(away ? "The server does not answer. This page goes on when it is back." : null));
    document.body.classList.toggle("blind", blind());
    $("answers-title").textContent = blind() ? "Which answer is better?" : "Your ranking";
    $("pool-title").textContent = blind() ? "Two answers" : "Not ranked yet";
    $("pick").hidden = !blind();
    $("tie-all").hidden = blind();
    panels.prepare(blind());
    if (!site.rater) site.rater = await panels.name();
    await panels.guidelines(site.guidelines);
    listen();
    begin(await insist("/api/next", {}, (away) => trouble(away ? "The server does not answer. This page goes on when it is back." : null)));
}

start().catch((error) => {
    trouble(error.status === 401 ? "Nobody was let in here. Open the address that `pleach rank` prints." : `The page could not begin: ${error.message}`);
});
