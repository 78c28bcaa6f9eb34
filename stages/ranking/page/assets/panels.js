// The panels beside the work: guidelines, keys, agreement, reasons to skip, the rater's name, colours.

import { make } from "./cards.js";
import { ask } from "./keep.js";

const $ = (id) => document.getElementById(id);

/** What each key does. */
const KEYS = [
    ["1 ... 9", "go to an answer"],
    ["Space", "rank it next"],
    ["[ or Shift \u2191", "one better"],
    ["] or Shift \u2193", "one worse"],
    ["=", "equal to the one above"],
    ["0 or U", "take its rank away"],
    ["\u2191 \u2193 or K J", "previous, next answer"],
    ["F", "flags of the answer"],
    ["C", "comment on the answer"],
    ["P", "note on the prompt"],
    ["B", "write a better answer"],
    ["Enter or Ctrl Enter", "submit"],
    ["S", "skip, with a reason"],
    ["Z or Ctrl Z", "undo; with nothing to undo: take the last answer back"],
    ["Y or Ctrl Y", "redo"],
    ["G, A, ?", "guidelines, agreement, keys"],
    ["Esc", "out of a field, a panel or a drag"],
];
const KEYS_BLIND = [["\u2190", "the left one is better"], ["\u2193", "both are equal"], ["\u2192", "the right one is better"]];

/** Opens a panel. */
export function open(id) {
    const panel = $(id);
    if (!panel.open) panel.showModal();
}

/** Prepares all panels. */
export function prepare(blind) {
    for (const close of document.querySelectorAll("[data-close]")) {
        close.addEventListener("click", () => close.closest("dialog").close());
    }
    const rows = [...(blind ? KEYS_BLIND : []), ...KEYS].map(([key, does]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, does)));
    $("keys-text").replaceChildren(make("table", { className: "keys" }, make("tbody", {}, ...rows)));
    $("single").checked = localStorage.getItem("pleach-single") !== "off";
    $("single").addEventListener("change", () => localStorage.setItem("pleach-single", $("single").checked ? "on" : "off"));
    colours();
    $("show-keys").addEventListener("click", () => open("keys"));
    $("show-guidelines").addEventListener("click", () => open("guidelines"));
    $("show-agreement").addEventListener("click", showAgreement);
}

/** The switch of colours: as the system, light, dark. */
function colours() {
    const all = [["", "Auto", "as the system"], ["light", "Light", "always light"], ["dark", "Dark", "always dark"]];
    const set = (kind) => {
        const [value, word, words] = all.find(([value]) => value === kind) ?? all[0];
        if (value) document.documentElement.dataset.theme = value;
        else delete document.documentElement.dataset.theme;
        $("theme").firstChild.textContent = `\u25d0 ${word}`;
        $("theme").setAttribute("aria-label", `${word}: colours ${words}`);
    };
    set(localStorage.getItem("pleach-theme") ?? "");
    $("theme").addEventListener("click", () => {
        const now = localStorage.getItem("pleach-theme") ?? "";
        const [next] = all[(all.findIndex(([value]) => value === now) + 1) % all.length];
        localStorage.setItem("pleach-theme", next);
        set(next);
    });
}

/** Shows the guidelines, and asks to read them where this version was not read. */
export function guidelines({ hash, text, read }) {
    const blocks = text.trim().split(/\n\s*\n/).map((block) => {
        const lines = block.split("\n");
        const kind = lines.every((line) => /^(\d+\.|-|\s) ?/.test(line)) ? (/^\d/.test(block) ? "ol" : "ul") : "p";
        if (kind === "p") return make("p", {}, block.replaceAll("\n", " "));
        const items = block.replaceAll(/\n\s+/g, " ").split("\n").map((line) => make("li", {}, line.replace(/^(\d+\.|-)\s*/, "")));
        return make(kind, {}, ...items);
    });
    $("guidelines-text").replaceChildren(...blocks);
    $("guidelines-hash").textContent = hash.slice(0, 12);
    $("guidelines-read").textContent = read ? "Close" : "I have read them";
    const once = read ? async () => {} : () => ask("/api/guidelines", { hash });
    let told = read;
    return new Promise((go) => {
        $("guidelines").addEventListener("close", () => {
            if (!told) once().catch(() => {});
            told = true;
            $("guidelines-read").textContent = "Close";
            go();
        });
        $("guidelines-read").addEventListener("click", () => $("guidelines").close());
        if (read) go();
        else open("guidelines");
    });
}

const hundredths = (share) => (100 * share).toFixed(1);
const percent = (share) => `${hundredths(share)} %`;
const figure = (value) => (value === null ? "not yet known" : value.toFixed(3));

/** A share with its interval as a bar. */
function bar(share, low, high) {
    const span = make("span", { className: "bar-of" });
    const whisker = make("span", { className: "whisker" });
    whisker.style.left = `${100 * low}%`;
    whisker.style.width = `${100 * (high - low)}%`;
    const dot = make("span", { className: "dot" });
    dot.style.left = `${100 * share}%`;
    span.append(whisker, dot);
    span.setAttribute("aria-hidden", "true");
    return span;
}

function shareRow(who, rate, more) {
    const name = make("th", { scope: "row" }, who);
    if (rate === null) return make("tr", {}, name, make("td", { colSpan: 2 }, "not yet known"));
    const words = `${percent(rate.share)} (${hundredths(rate.low)} to ${hundredths(rate.high)}${more})`;
    return make("tr", {}, name, make("td", {}, words), make("td", {}, bar(rate.share, rate.low, rate.high)));
}

/** Asks for the figures and shows them. */
export async function showAgreement() {
    const box = $("agreement-text");
    box.replaceChildren(make("p", {}, "Counting ..."));
    open("agreement");
    try {
        const all = await ask("/api/agreement");
        const pairs = (rate) => (rate ? `, ${rate.count} pairs` : "");
        const theirs = all.yardsticks.map((one) => shareRow(one.who, { share: one.share, low: one.share - one.error, high: one.share + one.error }, ""));
        const rows = [
            shareRow("Raters with each other", all.others.pairwise, pairs(all.others.pairwise)),
            shareRow("A rater with themselves, on repeats", all.selves.pairwise, pairs(all.selves.pairwise)),
        ];
        const caption = make("caption", {}, "Pairs of answers that two rankings put in the same order");
        const head = make("tbody", {}, ...rows, make("tr", {}, make("th", { colSpan: 3, className: "part", scope: "colgroup" }, "Published, to compare with")), ...theirs);
        const line = (name, value) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value));
        const flags = Object.entries(all.flags).map(([name, alpha]) => line(`Krippendorff's alpha, flags: ${name}`, figure(alpha)));
        const more = [
            line("Items that two or more ranked", String(all.shared)),
            line("Kendall's tau-b, mean", figure(all.others.tau_b)),
            line("Krippendorff's alpha, ranks", figure(all.alpha)),
            ...flags,
        ];
        box.replaceChildren(
            make("table", { className: "figures" }, caption, head),
            make("table", { className: "figures" }, make("caption", {}, "More figures: 1 is full agreement, 0 is chance"), make("tbody", {}, ...more)),
            make("p", { className: "small" }, `Sources: ${[...new Set(all.yardsticks.map((one) => one.source))].join("; ")}.`),
        );
    } catch (error) {
        box.replaceChildren(make("p", {}, `The figures are not to be had: ${error.message}`));
    }
}

/** Asks why an item is skipped; null where it is not. */
export function whySkip() {
    open("skipping");
    return new Promise((go) => {
        const panel = $("skipping");
        const form = $("skip-form");
        let why = null;
        const chosen = () => {
            const more = $("why-text").value.trim();
            why = form.elements.why.value + (more ? `: ${more}` : "");
        };
        form.addEventListener("submit", chosen, { once: true });
        panel.addEventListener("close", () => {
            form.removeEventListener("submit", chosen);
            $("why-text").value = "";
            go(why);
        }, { once: true });
    });
}

/** Asks for the rater's name until there is one. */
export function name() {
    open("naming");
    $("naming").addEventListener("cancel", (event) => event.preventDefault());
    return new Promise((go) => {
        $("name-form").addEventListener("submit", async (event) => {
            event.preventDefault();
            try {
                const { rater } = await ask("/api/rater", { name: $("name").value.trim() });
                $("naming").close();
                go(rater);
            } catch (error) {
                $("name-wrong").textContent = error.words ? `${error.words.detail}: ${error.words.hint}.` : "The server does not answer; try again.";
            }
        });
    });
}
