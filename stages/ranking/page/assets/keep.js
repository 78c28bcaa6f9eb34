// Nothing is lost: each change goes into this browser's own storage first and then to the server, in order, and is sent
// again until the server has it.

/** Milliseconds between tries while the server does not answer. */
const AGAIN = 1500;

/** What the server says in words. */
export class Refused extends Error {
    constructor(status, words) {
        super(words.what);
        this.status = status;
        this.words = words;
    }
}

/** Asks the server; a refusal is thrown as Refused, a silent server as another error. */
export async function ask(path, body) {
    const order = body === undefined ? {} : {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
    };
    const answer = await fetch(path, order);
    const words = await answer.json();
    if (answer.ok) return words;
    throw new Refused(answer.status, words);
}

/** Whether a failure will pass: the server is away, or its disk is. */
const passes = (error) => !(error instanceof Refused) || error.status >= 500;

const wait = (time) => new Promise((go) => setTimeout(go, time));

/** Asks until the server answers; `away` is told while it does not. */
export async function insist(path, body, away) {
    for (;;) {
        try {
            const words = await ask(path, body);
            away(false);
            return words;
        } catch (error) {
            if (!passes(error)) {
                away(false);
                throw error;
            }
            away(true);
            await wait(AGAIN);
        }
    }
}

/** The keeper of one item's draft. */
export class Keeper {
    constructor(place, assignment, revision, tell) {
        this.key = `${place}/${assignment}`;
        this.assignment = assignment;
        this.revision = revision;
        this.tell = tell;
        this.waiting = null;
        this.busy = Promise.resolve();
        this.over = false;
    }

    /** What this browser has and the server has not: {revision, answer, submit}, or null. */
    local() {
        try {
            const found = JSON.parse(localStorage.getItem(this.key));
            return found && found.revision > this.revision ? found : null;
        } catch {
            return null;
        }
    }

    note(answer, submit) {
        this.revision += 1;
        try {
            localStorage.setItem(this.key, JSON.stringify({ revision: this.revision, answer, submit }));
        } catch {
            // A full or forbidden storage costs only what the server has not yet.
        }
    }

    /** Keeps a change. Changes that come while one is on its way are sent as one. */
    save(answer) {
        this.note(answer, false);
        const first = this.waiting === null;
        this.waiting = { revision: this.revision, answer };
        this.tell("saving");
        if (first) this.busy = this.busy.then(() => this.send());
    }

    async send() {
        const { revision, answer } = this.waiting;
        this.waiting = null;
        if (this.over) return;
        try {
            const away = (gone) => this.tell(gone ? "away" : "back");
            await insist("/api/draft", { assignment: this.assignment, revision, answer }, away);
            this.tell(this.waiting === null ? "saved" : "saving");
        } catch (error) {
            this.tell("refused", error);
        }
    }

    /** Sends the answer, and gives what comes next. */
    async submit(answer) {
        this.note(answer, true);
        this.over = true;
        const revision = this.revision;
        await this.busy;
        const away = (gone) => this.tell(gone ? "away" : "sending");
        try {
            const next = await insist("/api/submit", { assignment: this.assignment, revision, answer }, away);
            localStorage.removeItem(this.key);
            return next;
        } catch (error) {
            this.over = false;
            throw error;
        }
    }
}
