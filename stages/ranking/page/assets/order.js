// The order of the answers as a value: groups of equals, best first, and the pool of those without a place. Every
// function gives a new order and leaves the old one alone.

/** An order in which nothing has a place. */
export const nothing = (letters) => ({ groups: [], pool: [...letters] });

/** An order from the groups that a draft holds. */
export function fromGroups(groups, letters) {
    const placed = new Set(groups.flat());
    return { groups: groups.map((group) => [...group]), pool: letters.filter((letter) => !placed.has(letter)) };
}

/** The place of a letter: the index of its group, -1 in the pool. */
export const placeOf = (order, letter) => order.groups.findIndex((group) => group.includes(letter));

const sorted = (letters) => [...letters].sort();

/** The order without a letter, and where `index` is in it then. */
function without(order, letter, index) {
    const alone = order.groups.findIndex((group) => group.length === 1 && group[0] === letter);
    const groups = order.groups.map((group) => group.filter((one) => one !== letter)).filter((group) => group.length);
    const pool = order.pool.filter((one) => one !== letter);
    return [{ groups, pool }, alone >= 0 && alone < index ? index - 1 : index];
}

/** The letter as a group of its own before group `index`. */
export function insert(order, letter, index) {
    const [rest, at] = without(order, letter, index);
    return { groups: [...rest.groups.slice(0, at), [letter], ...rest.groups.slice(at)], pool: rest.pool };
}

/** The letter into group `index`. */
export function tie(order, letter, index) {
    if (order.groups[index].includes(letter)) return order;
    const [rest, at] = without(order, letter, index);
    const groups = rest.groups.map((group, place) => (place === at ? sorted([...group, letter]) : group));
    return { groups, pool: rest.pool };
}

/** The letter back into the pool. */
export function unrank(order, letter) {
    if (placeOf(order, letter) < 0) return order;
    const [rest] = without(order, letter, 0);
    return { groups: rest.groups, pool: sorted([...rest.pool, letter]) };
}

/** One step better: out of the pool to the end, out of a group of equals before it, else past the group above. */
export function better(order, letter) {
    const place = placeOf(order, letter);
    if (place < 0) return insert(order, letter, order.groups.length);
    if (order.groups[place].length > 1) return insert(order, letter, place);
    return place === 0 ? order : insert(order, letter, place - 1);
}

/** One step worse: out of the pool to the end, out of a group of equals behind it, else past the group below. */
export function worse(order, letter) {
    const place = placeOf(order, letter);
    if (place < 0) return insert(order, letter, order.groups.length);
    if (order.groups[place].length > 1) return insert(order, letter, place + 1);
    return place === order.groups.length - 1 ? order : insert(order, letter, place + 2);
}

/** Equal to what stands above; out of the pool to what is last. */
export function tieAbove(order, letter) {
    const place = placeOf(order, letter);
    const above = place < 0 ? order.groups.length - 1 : place - 1;
    if (above < 0) return place < 0 ? better(order, letter) : order;
    return tie(order, letter, above);
}

/** All in one group. */
export const allEqual = (letters) => ({ groups: [sorted(letters)], pool: [] });

/** The rank of a group: one more than how many are better. */
export const rankOf = (order, place) => 1 + order.groups.slice(0, place).flat().length;
