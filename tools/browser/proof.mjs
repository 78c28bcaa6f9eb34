// The ranking page in a real browser: drag, keys, ties, undo, comment, flags, reload, crash of the server, two raters, a
// blind comparison, and axe on every view. Usage: node proof.mjs PLEACH CHROMIUM PICTURES

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { blindAnswers, items } from "./items.mjs";

const [pleach, browserPath, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "pleach-browser-"));
mkdirSync(pictures, { recursive: true });

let passed = 0;
const failures = [];

/** One check; a failure is counted and the rest goes on. */
async function check(name, body) {
    try {
        await body();
        passed += 1;
        console.log(`ok: ${name}`);
    } catch (error) {
        failures.push(name);
        console.log(`FAILED: ${name}: ${error.stack ?? error}`);
    }
}

/** Runs pleach to its end and gives its last line of JSON. */
function run(...words) {
    return new Promise((go, fail) => {
        const child = spawn(pleach, ["rank", ...words, "--json"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
        let out = "";
        child.stdout.on("data", (bytes) => { out += bytes; });
        child.on("exit", (code) => (code === 0 ? go(JSON.parse(out.trim().split("\n").at(-1))) : fail(new Error(`pleach rank ${words.join(" ")}: ${code}`))));
    });
}

/** Starts the page: the process and its address. */
function serve(...words) {
    return new Promise((go, fail) => {
        const child = spawn(pleach, ["rank", ...words, "--no-open", "--json"], { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
        child.on("exit", (code) => fail(new Error(`pleach rank ended with ${code}`)));
        child.stdout.once("data", (bytes) => go({ child, url: JSON.parse(String(bytes).split("\n")[0]).url }));
    });
}

const dead = (child) => new Promise((go) => (child.exitCode !== null || child.signalCode ? go() : child.on("exit", go)));

const started = [];
const noise = [];

/** A browser of its own, as one person has it. */
async function person(browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, reducedMotion: "reduce", ...options });
    const page = await context.newPage();
    page.on("pageerror", (error) => noise.push(`error: ${error.message}`));
    page.on("console", (line) => {
        const text = line.text();
        if (line.type() === "error" && !/ERR_(CONNECTION|EMPTY|SOCKET|NETWORK)|status of (401|409|422)/.test(text)) noise.push(text);
    });
    page.on("dialog", (dialog) => noise.push(`a dialog: ${dialog.message()}`));
    started.push(context);
    return page;
}

/** Comes in, gives a name, reads the guidelines. */
async function enter(page, url, name) {
    await page.goto(url);
    await page.locator("#naming").waitFor();
    await page.locator("#name").fill(name);
    await page.locator("#name").press("Enter");
    await page.locator("#guidelines-read").click();
    await page.locator("#work").waitFor();
}

/** The order on the page, as "B=C A": groups from the best, without the pool. */
const order = (page) => page.evaluate(() => [...document.querySelectorAll("#ranking > li")]
    .map((group) => [...group.querySelectorAll(".card")].map((card) => card.id.slice(5)).join("=")).join(" "));

const saved = (page) => page.locator("#kept.saved").waitFor();

/** Drags a card by its head to a place. */
async function drag(page, letter, to, { drop = true } = {}) {
    const head = await page.locator(`#card-${letter} .letter`).boundingBox();
    await page.mouse.move(head.x + 8, head.y + 8);
    await page.mouse.down();
    await page.mouse.move(head.x + 20, head.y + 20, { steps: 3 });
    const { x, y } = await to();
    await page.mouse.move(x, y, { steps: 8 });
    if (drop) await page.mouse.up();
}

const middle = (page, letter) => async () => {
    const box = await page.locator(`#card-${letter}`).boundingBox();
    return { x: box.x + 120, y: box.y + box.height / 2 };
};
const above = (page, letter) => async () => {
    const box = await page.locator(`#card-${letter}`).boundingBox();
    return { x: box.x + 120, y: box.y + 4 };
};
const ranking = (page) => async () => {
    const box = await page.locator("#ranking").boundingBox();
    return { x: box.x + 160, y: box.y + 30 };
};
const pool = (page) => async () => {
    const box = await page.locator("#pool-box").boundingBox();
    return { x: box.x + 160, y: box.y + box.height / 2 };
};

/** What axe finds of serious or critical weight. */
async function healthy(page, name) {
    await check(`axe: ${name}`, async () => {
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
        const grave = violations.filter((one) => ["serious", "critical"].includes(one.impact));
        const words = grave.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
        assert.deepEqual(words, []);
    });
}

const picture = (page, name) => page.screenshot({ path: join(pictures, `${name}.png`) });

async function dragging(page) {
    await check("dragging ranks, orders, ties and takes away", async () => {
        await drag(page, "B", ranking(page));
        assert.equal(await order(page), "B");
        await drag(page, "C", above(page, "B"));
        assert.equal(await order(page), "C B");
        await drag(page, "A", middle(page, "B"));
        assert.equal(await order(page), "C A=B");
        await drag(page, "C", pool(page));
        assert.equal(await order(page), "A=B");
        await drag(page, "C", above(page, "A"));
        await drag(page, "D", middle(page, "C"), { drop: false });
        await picture(page, "drag-light");
        await page.keyboard.press("Escape");
        await page.mouse.up();
        assert.equal(await order(page), "C A=B", "Escape ends a drag and changes nothing");
        await saved(page);
    });
    await check("a reload shows what was kept", async () => {
        await page.reload();
        await page.locator("#work").waitFor();
        assert.equal(await order(page), "C A=B");
    });
}

async function moves(page) {
    await check("twenty thousand random moves keep every answer exactly once", async () => {
        const wrong = await page.evaluate(async () => {
            const { allEqual, better, fromGroups, insert, nothing, tie, tieAbove, unrank, worse } = await import("/order.js");
            let seed = 1;
            const below = (count) => {
                seed = (seed * 48271) % 2147483647;
                return seed % count;
            };
            const letters = ["A", "B", "C", "D", "E"];
            let order = nothing(letters);
            for (let step = 0; step < 20000; step += 1) {
                const letter = letters[below(5)];
                const count = order.groups.length;
                const all = [
                    () => better(order, letter),
                    () => worse(order, letter),
                    () => tieAbove(order, letter),
                    () => unrank(order, letter),
                    () => insert(order, letter, below(count + 1)),
                    () => (count ? tie(order, letter, below(count)) : order),
                    () => fromGroups(order.groups, letters),
                    () => (below(50) ? order : allEqual(letters)),
                ];
                const before = JSON.stringify(order);
                const next = all[below(all.length)]();
                const held = [...next.groups.flat(), ...next.pool].sort().join("");
                if (held !== "ABCDE" || next.groups.some((group) => group.length === 0)) return `${before} became ${JSON.stringify(next)}`;
                if (JSON.stringify(order) !== before) return `${before} was changed in place`;
                order = next;
            }
            return null;
        });
        assert.equal(wrong, null);
    });
}

async function keys(page) {
    await check("keys rank, order, tie, take away, undo and redo", async () => {
        const press = async (...all) => {
            for (const key of all) await page.keyboard.press(key);
        };
        await press("4", "Space");
        assert.equal(await order(page), "C A=B D");
        assert.equal(await page.locator("#said").textContent(), "D moved to rank 4 of 4");
        await press("[");
        assert.equal(await order(page), "C D A=B");
        await press("=");
        assert.equal(await order(page), "C=D A=B");
        await press("]");
        assert.equal(await order(page), "C D A=B");
        await press("z");
        assert.equal(await order(page), "C=D A=B");
        await press("y");
        assert.equal(await order(page), "C D A=B");
        await press("2", "Shift+ArrowUp");
        assert.equal(await order(page), "C D B A");
        await press("ArrowUp");
        assert.equal(await page.evaluate(() => document.activeElement.id), "card-D");
        await press("0");
        assert.equal(await order(page), "C B A");
        assert.ok(await page.locator("#submit").isDisabled(), "nothing is submitted before all have a rank");
        await press("Enter");
        assert.equal(await order(page), "C B A", "Enter does nothing yet");
        await press("Control+z");
        assert.equal(await order(page), "C D B A");
        await press("Backspace");
        assert.equal(await order(page), "C D B A", "Backspace discards nothing");
    });
    await check("flags and comments are kept over a reload", async () => {
        await page.keyboard.press("1");
        await page.keyboard.press("f");
        await page.locator("#flag-A-false").check();
        await page.locator("#flag-A-helps_harm").check();
        await page.keyboard.press("c");
        await page.keyboard.type("says 3, it is 4; z y 1 2 Enter are letters here");
        await page.keyboard.press("Escape");
        await page.keyboard.press("p");
        await page.keyboard.type("an odd prompt");
        await page.keyboard.press("Escape");
        await page.keyboard.press("b");
        await page.keyboard.type("A better one.");
        await page.keyboard.press("Escape");
        await saved(page);
        await healthy(page, "flags and comment open, light");
        await picture(page, "flags-light");
        await page.reload();
        await page.locator("#work").waitFor();
        assert.ok(await page.locator("#card-A .chip", { hasText: "Says something false" }).isVisible());
        assert.equal(await page.locator("#comment-A").inputValue(), "says 3, it is 4; z y 1 2 Enter are letters here");
        assert.equal(await page.locator("#note-text").inputValue(), "an odd prompt");
        assert.equal(await page.locator("#better-text").inputValue(), "A better one.");
        assert.equal(await order(page), "C D B A");
    });
    await check("Enter submits, Z takes the submit back, S skips with a reason", async () => {
        const prompt = await page.locator("#prompt").textContent();
        await page.keyboard.press("3");
        await page.keyboard.press("Enter");
        await page.waitForFunction((old) => document.getElementById("prompt").textContent !== old, prompt);
        assert.equal(await order(page), "");
        await page.keyboard.press("z");
        await page.waitForFunction((old) => document.getElementById("prompt").textContent === old, prompt);
        assert.equal(await order(page), "C D B A");
        assert.equal(await page.locator("#comment-A").inputValue(), "says 3, it is 4; z y 1 2 Enter are letters here");
        await page.keyboard.press("Control+Enter");
        await page.waitForFunction((old) => document.getElementById("prompt").textContent !== old, prompt);
        const second = await page.locator("#prompt").textContent();
        await page.keyboard.press("s");
        await healthy(page, "reasons to skip");
        await page.getByRole("radio", { name: "The prompt itself is bad" }).check();
        await page.locator("#why-text").fill("it asks two things");
        await page.locator("#skip-now").click();
        await page.waitForFunction((old) => document.getElementById("prompt").textContent !== old, second);
    });
}

/** Kills the server in the middle of a drag; what is done then is there afterwards. */
async function crash(page, server, words) {
    await check("a server killed in the middle of a drag loses nothing", async () => {
        await page.keyboard.press("1");
        await page.keyboard.press("Space");
        await saved(page);
        await drag(page, "B", above(page, "A"), { drop: false });
        server.child.removeAllListeners("exit");
        server.child.kill("SIGKILL");
        await dead(server.child);
        await page.mouse.up();
        assert.equal(await order(page), "B A");
        await page.locator("#trouble", { hasText: "kept in this browser" }).waitFor();
        await page.keyboard.press("3");
        await page.keyboard.press("Space");
        assert.equal(await order(page), "B A C");
        await picture(page, "away-light");
        assert.equal(await page.locator("#kept").textContent(), "Kept in this browser");
        Object.assign(server, await serve(...words));
        await saved(page);
        assert.ok(await page.locator("#trouble").isHidden());
        await page.reload();
        await page.locator("#work").waitFor();
        assert.equal(await order(page), "B A C", "the open page sent what it had");
    });
    await check("a window closed while the server is dead goes on in a new one", async () => {
        server.child.removeAllListeners("exit");
        server.child.kill("SIGKILL");
        await dead(server.child);
        await page.keyboard.press("4");
        await page.keyboard.press("Space");
        await page.keyboard.press("Enter");
        await page.locator("#trouble", { hasText: "kept in this browser" }).waitFor();
        const prompt = await page.locator("#prompt").textContent();
        const address = new URL(page.url()).origin;
        const context = page.context();
        await page.close();
        Object.assign(server, await serve(...words));
        const again = await context.newPage();
        await again.goto(address);
        await again.waitForFunction((old) => !document.getElementById("work").hidden && document.getElementById("prompt").textContent !== old, prompt);
        const { counts } = await run(...words, "--agreement");
        assert.equal(counts.rankings, 2, "the answer that was given to a dead server was sent by the new window");
        page = again;
    });
    return page;
}

async function panels(page) {
    for (const [key, panel] of [["g", "guidelines"], ["?", "keys"], ["a", "agreement"]]) {
        await page.keyboard.press(key);
        await page.locator(`#${panel}`).waitFor();
        if (panel === "agreement") await page.locator("#agreement table").first().waitFor();
        await healthy(page, `${panel}, light`);
        await picture(page, `${panel}-light`);
        await page.keyboard.press("Escape");
    }
    await check("single keys can be switched off", async () => {
        await page.keyboard.press("?");
        await page.locator("#single").uncheck();
        await page.keyboard.press("Escape");
        const before = await order(page);
        await page.keyboard.press("1");
        await page.keyboard.press("Space");
        assert.equal(await order(page), before);
        await page.locator("#show-keys").click();
        await page.locator("#single").check();
        await page.keyboard.press("Escape");
    });
    await check("the switch of colours goes round and is remembered", async () => {
        await page.locator("#theme").click();
        await page.locator("#theme").click();
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
        await page.reload();
        await page.locator("#work").waitFor();
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
        await page.locator("#theme").click();
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), undefined);
    });
}

/** A second person, in the dark, with fingers and buttons only. */
async function second(browser, words, ada) {
    const { url } = await run(...words, "--no-open");
    const page = await person(browser, { colorScheme: "dark" });
    await enter(page, url, "Bob");
    await check("two raters on one item keep both answers", async () => {
        assert.ok((await page.locator("#prompt").textContent()).includes("capital"), "the overlap: Ada's first item");
        const buttons = page.locator("button.place:visible");
        for (let left = await buttons.count(); left > 0; left -= 1) await buttons.first().click();
        assert.equal(await order(page), "A B C D");
        await page.getByLabel("B equals the one above").click();
        await page.getByLabel("D is better: one up").click();
        assert.equal(await order(page), "A=B D C");
        await saved(page);
        await picture(page, "ranking-dark");
        await healthy(page, "a ranking, dark");
        await page.locator("#card-C").getByRole("button", { name: "Flags of C" }).click();
        await page.locator("#flag-C-rude").check();
        await healthy(page, "flags open, dark");
        await picture(page, "flags-dark");
        await page.locator("#submit").click();
        await page.locator("#prompt", { hasText: "kettle" }).waitFor();
        const { agreement } = await run(...words, "--agreement");
        assert.equal(agreement.shared, 1);
        assert.ok(agreement.others.pairwise.count > 0);
    });
    await page.keyboard.press("a");
    await page.locator("#agreement table").first().waitFor();
    await healthy(page, "agreement, dark");
    await picture(page, "agreement-dark");
    await page.keyboard.press("Escape");
    await check("what a completion says is text and nothing else", async () => {
        await page.keyboard.press("Enter");
        while (!(await page.locator("#prompt").textContent()).includes("<b>")) {
            await page.locator("#tie-all").click();
            const old = await page.locator("#prompt").textContent();
            await page.locator("#submit").click();
            await page.waitForFunction((old) => document.getElementById("prompt").textContent !== old, old);
        }
        assert.equal(await page.locator("#answers img, #answers script, #prompt b").count(), 0);
        assert.equal(await page.locator("#answers", { hasText: "<script>alert(1)</script>" }).count(), 1);
    });
    await check("the last answer leads to a page that says so", async () => {
        while (!(await page.locator("#work").isHidden())) {
            await page.locator("#tie-all").click();
            const far = await page.locator("#far").textContent();
            await page.locator("#submit").click();
            await page.waitForFunction((old) => document.getElementById("far").textContent !== old, far);
        }
        await page.locator("#rest").waitFor();
        await healthy(page, "nothing left, dark");
        await picture(page, "rest-dark");
    });
    await check("a narrow window has everything", async () => {
        await ada.setViewportSize({ width: 390, height: 844 });
        assert.ok(await ada.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing sticks out");
        await picture(ada, "narrow-light");
        await healthy(ada, "narrow, light");
        await ada.setViewportSize({ width: 1360, height: 900 });
    });
    await check("an address is good once", async () => {
        const page = await person(browser);
        await page.goto(url);
        await page.locator("#words", { hasText: "used already" }).waitFor();
        await healthy(page, "a used address");
    });
}

async function blind(browser) {
    for (const [name, answers] of Object.entries(blindAnswers)) {
        const prompt = (index) => items[index % items.length].prompt;
        const lines = answers.map((completion, index) => JSON.stringify({ prompt: prompt(index), completion }));
        writeFileSync(join(folder, `${name}.jsonl`), `${lines.join("\n")}\n`);
    }
    const words = ["--ab", "before.jsonl", "after.jsonl", "--repeats", "0"];
    const server = await serve(...words);
    const page = await person(browser, { colorScheme: "dark" });
    await enter(page, server.url, "Cyd");
    await check("a blind comparison is answered with arrows and Enter", async () => {
        await healthy(page, "blind, dark");
        for (let index = 0; index < blindAnswers.before.length; index += 1) {
            const left = await page.locator("#card-A .body").textContent();
            assert.ok(!(await page.content()).includes("checkpoint"), "nothing says where an answer comes from");
            await page.keyboard.press(left.startsWith("After") ? "ArrowLeft" : "ArrowRight");
            assert.equal(await page.locator("#pick [aria-pressed=true]").count(), 1);
            if (index === 0) {
                await picture(page, "blind-dark");
                await page.evaluate(() => { document.documentElement.dataset.theme = "light"; });
                await picture(page, "blind-light");
                await healthy(page, "blind, light");
            }
            if (index === 1) await page.keyboard.press("ArrowDown");
            const far = await page.locator("#far").textContent();
            await page.keyboard.press("Enter");
            await page.waitForFunction((old) => document.getElementById("far").textContent !== old, far);
        }
        await page.locator("#rest").waitFor();
        const { verdict } = await run(...words, "--agreement");
        const { wins, ties, losses, win_rate: rate } = verdict;
        assert.deepEqual([wins, ties, losses], [0, 1, blindAnswers.before.length - 1]);
        assert.ok(rate.low < rate.share && rate.share < rate.high && rate.high < 0.5, JSON.stringify(rate));
    });
    server.child.removeAllListeners("exit");
    server.child.kill("SIGINT");
    await dead(server.child);
}

const words = ["--file", "items.jsonl", "--overlap", "1", "--repeats", "0"];
writeFileSync(join(folder, "items.jsonl"), `${items.map((item) => JSON.stringify(item)).join("\n")}\n`);
const server = await serve(...words);
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
try {
    let page = await person(browser, { colorScheme: "light" });
    await page.goto(server.url);
    await page.locator("#naming").waitFor();
    await healthy(page, "the name, light");
    await picture(page, "name-light");
    await enter(page, server.url, "Ada");
    await check("the address leaves no word behind", async () => assert.ok(!page.url().includes("#") && new URL(page.url()).pathname === "/"));
    await picture(page, "start-light");
    await healthy(page, "a new item, light");
    await dragging(page);
    await picture(page, "ranking-light");
    await healthy(page, "a ranking, light");
    await moves(page);
    await keys(page);
    page = await crash(page, server, words);
    await panels(page);
    await second(browser, words, page);
    await blind(browser);
    await check("no script failed and no policy was broken", async () => assert.deepEqual(noise, []));
} catch (error) {
    failures.push("the proof itself");
    console.log(`FAILED: ${error.stack}`);
    for (const [index, context] of started.entries()) {
        for (const page of context.pages()) await picture(page, `failed-${index}`).catch(() => {});
    }
} finally {
    server.child.removeAllListeners("exit");
    server.child.kill("SIGINT");
    await browser.close();
    rmSync(folder, { recursive: true, force: true });
}
console.log(`test result: ${failures.length ? "FAILED" : "ok"}. ${passed} passed; ${failures.length} failed; 0 ignored; 0 measured`);
process.exitCode = failures.length ? 1 : 0;
