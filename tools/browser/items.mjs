// What is ranked in the proof: items of every sort that the page must show well.

const item = (id, prompt, texts) => ({
    id,
    prompt,
    completions: texts.map((text, index) => ({ id: `c${index}`, text, origin: { checkpoint: `step-${index}` } })),
});

const user = (...turns) => turns.map((content, index) => ({ role: index % 2 ? "assistant" : "user", content }));

const long = Array.from({ length: 30 }, (_, index) => `${index + 1}. Water the ${["beans", "kale", "beets", "onions"][index % 4]} in row ${index + 1} and look under the leaves.`).join("\n");

export const items = [
    item("capital", "What is the capital of Australia, and why is it not the largest city?", [
        "The capital of Australia is Canberra. It was founded in 1913 as a compromise: Sydney and Melbourne both wanted to be the capital, so a new city was built between them.",
        "Sydney is the capital of Australia. It is the largest city and has the famous opera house.",
        "Canberra.",
        "What a silly question! Everybody knows that it is Canberra. Read a book.",
    ]),
    item("kettle", "My kettle is full of scale. How do I get rid of it without buying anything special?", [
        "Fill it half with vinegar and half with water, bring it to the boil, leave it for an hour, and rinse it twice.",
        "Scrub it with steel wool until it shines.",
        "Boil water with two spoons of citric acid or the juice of two lemons; let it stand for 20 minutes and rinse.",
        "I cannot help with that.",
    ]),
    item("poem", user("I am writing a card for my grandmother, who is 90.", "How lovely! What should the card be about?", "Her garden. Two lines, please."), [
        "Ninety summers you have tended, row by row,\nand all that you have loved began to grow.",
        "Happy birthday, grandmother! You are very old now, and your garden is nice.",
        "Here are some ideas for a poem about a garden: roses, bees, sunshine, tomatoes, rain, a bench.",
        "Your garden keeps the years like rings in wood;\nwhatever you have planted there was good.",
    ]),
    item("tags", "What does <b>bold</b> mean in HTML? Answer in one sentence.", [
        "It shows text in bold: <b>like this</b>.",
        "<img src=x onerror=\"alert(1)\"> It makes text bold.",
        "<script>alert(1)</script>",
        "The b element draws attention to text without saying that it is more important.",
    ]),
    item("list", "Write my tasks in the garden for the next 30 days.", [long, "Water everything every day.", "Day 1 to 30: water, weed, rest.", `${long}\n\nAnd rest on Sundays.`]),
    item("neighbour", "Is it true that people from the hill steal apples more often than people from the valley?", [
        "There is no reason to think so. Where somebody lives does not tell whether they steal.",
        "Yes, those from the hill are known for it.",
        "I do not know of any counts, and I would not judge people by where they live.",
        "Ask the police.",
    ]),
];

const count = 12;
export const blindAnswers = {
    before: Array.from({ length: count }, (_, index) => `Before training, answer ${index + 1}: I do not know what to say, what to say, what to say.`),
    after: Array.from({ length: count }, (_, index) => `After training, answer ${index + 1}: here is what you asked for, in one clear sentence.`),
};
