// Dragging with mouse, pen or finger. Where a card would go is said while it moves; nothing changes until it is let go.

/** Pixels before a press becomes a drag. */
const FAR = 6;
/** Height of the edge of a group that means "beside it" and not "equal to it", in pixels. */
const EDGE = 30;
/** Distance from the window's edge that scrolls, in pixels. */
const SCROLL = 70;

/** What lies under the pointer: {kind: "insert" | "tie", index} or {kind: "pool"}. */
function target(x, y) {
    const pool = document.getElementById("pool-box").getBoundingClientRect();
    if (y > pool.top && y < pool.bottom && x > pool.left && x < pool.right) return { kind: "pool" };
    const groups = [...document.querySelectorAll("#ranking > li")];
    for (const [index, group] of groups.entries()) {
        const { top, bottom, height } = group.getBoundingClientRect();
        const edge = Math.min(EDGE, height / 3);
        if (y < top + edge) return { kind: "insert", index };
        if (y < bottom - edge) return { kind: "tie", index };
    }
    return { kind: "insert", index: groups.length };
}

/** Shows where the card would go. */
function show(where) {
    clear();
    const groups = [...document.querySelectorAll("#ranking > li")];
    if (where.kind === "pool") document.getElementById("pool-box").classList.add("into");
    else if (where.kind === "tie") groups[where.index].classList.add("into");
    else if (groups.length === 0) document.getElementById("ranking").classList.add("into");
    else if (where.index < groups.length) groups[where.index].classList.add("before");
    else groups[groups.length - 1].classList.add("after");
}

function clear() {
    for (const one of document.querySelectorAll(".into, .before, .after")) one.classList.remove("into", "before", "after");
}

/** Lets a card be dragged by its head; `drop` is told where it went, `say` what happens. */
export function draggable(card, letter, drop, say) {
    const head = card.querySelector(".head");
    head.addEventListener("pointerdown", (press) => {
        if (press.button !== 0 || press.target.closest("button, input, textarea, a")) return;
        const at = card.getBoundingClientRect();
        const grip = { x: press.clientX - at.left, y: press.clientY - at.top };
        let ghost = null;
        let where = null;
        let timer = 0;
        let speed = 0;
        const move = (event) => {
            if (event.pointerId !== press.pointerId) return;
            const far = Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY);
            if (!ghost && far < FAR) return;
            if (!ghost) {
                ghost = card.cloneNode(true);
                ghost.classList.add("ghost");
                ghost.setAttribute("aria-hidden", "true");
                for (const one of ghost.querySelectorAll("[id]")) one.removeAttribute("id");
                ghost.style.width = `${at.width}px`;
                document.body.append(ghost);
                document.body.classList.add("dragging");
                card.classList.add("lifted");
                timer = setInterval(() => speed && window.scrollBy(0, speed), 16);
                say(`${letter} is being moved`);
            }
            event.preventDefault();
            ghost.style.transform = `translate(${event.clientX - grip.x}px, ${event.clientY - grip.y}px)`;
            const below = window.innerHeight - event.clientY;
            speed = event.clientY < SCROLL ? -12 : below < SCROLL ? 12 : 0;
            where = target(event.clientX, event.clientY);
            show(where);
        };
        const end = (event) => {
            if (event.type === "keydown" && event.key !== "Escape") return;
            if (event.pointerId !== undefined && event.pointerId !== press.pointerId) return;
            clearInterval(timer);
            for (const [kind, listener] of listeners) window.removeEventListener(kind, listener);
            if (!ghost) return;
            ghost.remove();
            clear();
            card.classList.remove("lifted");
            document.body.classList.remove("dragging");
            if (event.type === "pointerup" && where) drop(where);
            else say(`${letter} stays where it was`);
        };
        const listeners = [["pointermove", move], ["pointerup", end], ["pointercancel", end], ["keydown", end]];
        for (const [kind, listener] of listeners) window.addEventListener(kind, listener, { passive: false });
    });
}
