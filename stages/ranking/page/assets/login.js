// Exchanges the word of the address for a cookie, once, and takes it out of the browser's history.

const words = document.getElementById("words");
const token = location.hash.slice(1);
history.replaceState(null, "", "/login");

async function enter() {
    // A browser that was let in before needs no word.
    const known = await fetch("/api/state");
    if (known.ok && !token) return location.replace("/");
    if (!token) {
        words.textContent = "Open the address that `pleach rank` printed: it is good once.";
        return undefined;
    }
    const answer = await fetch("/login", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
    });
    if (answer.ok || known.ok) return location.replace("/");
    const { what, hint } = await answer.json();
    words.textContent = `${what}: ${hint}.`;
    return undefined;
}

enter().catch(() => {
    words.textContent = "The ranking page does not answer. Start `pleach rank` and open the address that it prints.";
});
