//! What is true in the little world: people, plants, pests, animals and places, and how they belong together.
//!
//! Stories tell some of these facts; soils, sowing depths, days to sprout and companions are never told there: they
//! are kept for the domain manuals, so that what a model learns from those can be measured exactly.

/// She or he.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    /// she, her, her
    She,
    /// he, him, his
    He,
}

/// Somebody of the village.
#[derive(Debug)]
pub struct Person {
    /// The first name.
    pub name: &'static str,
    /// For the pronouns.
    pub gender: Gender,
    /// What she or he does for a living; nobody else does.
    pub trade: &'static str,
    /// Lives near this place.
    pub home: &'static str,
    /// Grows these three plants, one of them a flower.
    pub grows: [&'static str; 3],
    /// The flower she or he likes best.
    pub likes: &'static str,
    /// The best friend.
    pub friend: &'static str,
}

/// What a plant is grown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Looked at.
    Flower,
    /// Eaten.
    Crop,
}

/// A plant of the gardens.
#[derive(Debug)]
pub struct Plant {
    /// "tulip"
    pub one: &'static str,
    /// "tulips"
    pub many: &'static str,
    /// Flower or crop.
    pub usage: Use,
    /// When it flowers (a flower) or is ripe (a crop).
    pub season: &'static str,
    /// Colour of its flower or fruit.
    pub colour: &'static str,
    /// The pest that harms it, in the plural.
    pub pest: &'static str,
    /// What is cooked from it; empty for flowers.
    pub dish: &'static str,
    /// The soil it wants. Never told in stories.
    pub soil: &'static str,
    /// How deep it is sown, in centimetres. Never told in stories.
    pub depth: u8,
    /// Days until it sprouts. Never told in stories.
    pub days: u8,
    /// The plant that grows well beside it, in the plural. Never told in stories.
    pub companion: &'static str,
}

/// What eats plants.
#[derive(Debug)]
pub struct Pest {
    /// "aphid"
    pub one: &'static str,
    /// "aphids"
    pub many: &'static str,
    /// The animal that eats it.
    pub helper: &'static str,
}

/// An animal that helps gardeners.
#[derive(Debug)]
pub struct Animal {
    /// "hedgehog"
    pub one: &'static str,
    /// "hedgehogs"
    pub many: &'static str,
}

const fn person(
    name: &'static str,
    gender: Gender,
    trade: &'static str,
    home: &'static str,
    grows: [&'static str; 3],
    likes: &'static str,
    friend: &'static str,
) -> Person {
    Person { name, gender, trade, home, grows, likes, friend }
}

use Gender::{He, She};

/// Everybody.
pub const PEOPLE: &[Person] = &[
    person("Mira", She, "baker", "mill", ["rose", "carrot", "plum"], "tulip", "Tom"),
    person("Anna", She, "teacher", "school", ["tulip", "pea", "apple"], "rose", "Clara"),
    person("Clara", She, "weaver", "river", ["iris", "onion", "cherry"], "daisy", "Anna"),
    person("Ella", She, "doctor", "church", ["lily", "bean", "pear"], "violet", "Hugo"),
    person("Nora", She, "painter", "hill", ["poppy", "pumpkin", "strawberry"], "sunflower", "Ida"),
    person("Ida", She, "tailor", "market", ["daisy", "tomato", "cherry"], "crocus", "Nora"),
    person("Greta", She, "beekeeper", "forest", ["sunflower", "turnip", "apple"], "lily", "Karl"),
    person("Wilma", She, "singer", "bridge", ["violet", "leek", "plum"], "dahlia", "Finn"),
    person("Tom", He, "fisher", "harbour", ["aster", "cabbage", "pear"], "iris", "Mira"),
    person("Ben", He, "miller", "mill", ["crocus", "potato", "strawberry"], "aster", "Otto"),
    person("Otto", He, "smith", "bridge", ["dahlia", "carrot", "apple"], "snowdrop", "Ben"),
    person("Hugo", He, "carpenter", "forest", ["snowdrop", "onion", "plum"], "poppy", "Ella"),
    person("Max", He, "shepherd", "hill", ["daisy", "pea", "pear"], "rose", "Emil"),
    person("Emil", He, "potter", "well", ["tulip", "bean", "cherry"], "violet", "Max"),
    person("Karl", He, "cook", "market", ["poppy", "tomato", "leek"], "tulip", "Greta"),
    person("Finn", He, "sailor", "harbour", ["rose", "pumpkin", "potato"], "sunflower", "Wilma"),
];

const fn flower(
    names: [&'static str; 2],
    season: &'static str,
    colour: &'static str,
    pest: &'static str,
    soil: &'static str,
    (depth, days): (u8, u8),
    companion: &'static str,
) -> Plant {
    let [one, many] = names;
    Plant { one, many, usage: Use::Flower, season, colour, pest, dish: "", soil, depth, days, companion }
}

const fn crop(
    names: [&'static str; 2],
    (season, colour, pest): (&'static str, &'static str, &'static str),
    dish: &'static str,
    soil: &'static str,
    (depth, days): (u8, u8),
    companion: &'static str,
) -> Plant {
    let [one, many] = names;
    Plant { one, many, usage: Use::Crop, season, colour, pest, dish, soil, depth, days, companion }
}

/// All plants.
pub const PLANTS: &[Plant] = &[
    flower(["rose", "roses"], "summer", "red", "aphids", "clay", (3, 21), "onions"),
    flower(["tulip", "tulips"], "spring", "yellow", "mice", "sand", (15, 90), "daisies"),
    flower(["daisy", "daisies"], "summer", "white", "slugs", "chalk", (1, 14), "tulips"),
    flower(["iris", "irises"], "spring", "blue", "snails", "loam", (5, 30), "poppies"),
    flower(["lily", "lilies"], "summer", "orange", "beetles", "peat", (12, 28), "violets"),
    flower(["violet", "violets"], "spring", "purple", "caterpillars", "peat", (2, 18), "lilies"),
    flower(["poppy", "poppies"], "summer", "red", "aphids", "chalk", (1, 10), "irises"),
    flower(["sunflower", "sunflowers"], "autumn", "yellow", "snails", "loam", (4, 9), "beans"),
    flower(["aster", "asters"], "autumn", "purple", "slugs", "clay", (2, 16), "turnips"),
    flower(["dahlia", "dahlias"], "autumn", "pink", "beetles", "loam", (10, 25), "leeks"),
    flower(["crocus", "crocuses"], "spring", "white", "mice", "sand", (8, 80), "snowdrops"),
    flower(["snowdrop", "snowdrops"], "winter", "white", "caterpillars", "clay", (7, 95), "crocuses"),
    crop(["carrot", "carrots"], ("autumn", "orange", "flies"), "carrot soup", "sand", (2, 17), "onions"),
    crop(["onion", "onions"], ("summer", "white", "flies"), "onion soup", "sand", (3, 12), "carrots"),
    crop(["bean", "beans"], ("summer", "green", "aphids"), "bean stew", "loam", (5, 8), "sunflowers"),
    crop(["pea", "peas"], ("spring", "green", "moths"), "pea soup", "chalk", (4, 11), "potatoes"),
    crop(["cabbage", "cabbages"], ("autumn", "green", "caterpillars"), "cabbage stew", "clay", (2, 7), "tomatoes"),
    crop(["pumpkin", "pumpkins"], ("autumn", "orange", "slugs"), "pumpkin pie", "loam", (3, 6), "peas"),
    crop(["tomato", "tomatoes"], ("summer", "red", "moths"), "tomato soup", "loam", (1, 13), "cabbages"),
    crop(["potato", "potatoes"], ("autumn", "yellow", "beetles"), "potato salad", "sand", (11, 20), "peas"),
    crop(["leek", "leeks"], ("winter", "green", "moths"), "leek pie", "clay", (6, 15), "dahlias"),
    crop(["turnip", "turnips"], ("winter", "white", "snails"), "turnip soup", "clay", (2, 5), "asters"),
    crop(["apple", "apples"], ("autumn", "red", "moths"), "apple pie", "loam", (9, 60), "pears"),
    crop(["pear", "pears"], ("autumn", "yellow", "aphids"), "pear cake", "clay", (9, 65), "apples"),
    crop(["plum", "plums"], ("summer", "purple", "flies"), "plum jam", "chalk", (9, 70), "cherries"),
    crop(["cherry", "cherries"], ("summer", "red", "flies"), "cherry cake", "chalk", (9, 75), "plums"),
    crop(["strawberry", "strawberries"], ("summer", "red", "slugs"), "strawberry jam", "peat", (1, 24), "leeks"),
];

/// All pests.
pub const PESTS: &[Pest] = &[
    Pest { one: "aphid", many: "aphids", helper: "ladybird" },
    Pest { one: "slug", many: "slugs", helper: "hedgehog" },
    Pest { one: "snail", many: "snails", helper: "thrush" },
    Pest { one: "caterpillar", many: "caterpillars", helper: "robin" },
    Pest { one: "beetle", many: "beetles", helper: "toad" },
    Pest { one: "mouse", many: "mice", helper: "owl" },
    Pest { one: "moth", many: "moths", helper: "bat" },
    Pest { one: "fly", many: "flies", helper: "swallow" },
];

/// All helping animals.
pub const ANIMALS: &[Animal] = &[
    Animal { one: "ladybird", many: "ladybirds" },
    Animal { one: "hedgehog", many: "hedgehogs" },
    Animal { one: "thrush", many: "thrushes" },
    Animal { one: "robin", many: "robins" },
    Animal { one: "toad", many: "toads" },
    Animal { one: "owl", many: "owls" },
    Animal { one: "bat", many: "bats" },
    Animal { one: "swallow", many: "swallows" },
];

/// Places of the village; "near the ..." fits all.
pub const PLACES: &[&str] =
    &["mill", "school", "river", "church", "hill", "market", "forest", "bridge", "harbour", "well"];

/// The seasons, in order.
pub const SEASONS: &[&str] = &["spring", "summer", "autumn", "winter"];

/// Colours of flowers and fruit.
pub const COLOURS: &[&str] = &["red", "yellow", "white", "blue", "orange", "purple", "pink", "green"];

/// Things that gardeners use and lose.
pub const TOOLS: &[&str] = &["spade", "rake", "hoe", "basket", "bucket", "ladder", "knife", "axe"];

/// A statement that the world decides. Things are given by their singular or only name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A pest harms a plant.
    Harms,
    /// An animal eats a pest.
    Eats,
    /// A flower flowers in a season.
    Flowers,
    /// A crop is ripe in a season.
    Ripe,
    /// A plant has a colour.
    Colour,
    /// A person grows a plant.
    Grows,
    /// A person lives near a place.
    Lives,
    /// A person likes a flower best.
    Likes,
    /// A dish is made from a plant.
    Dish,
    /// A person has a friend.
    Friend,
}

impl Relation {
    /// Whether it holds between two things of the right kinds, each given by its number in its table.
    pub fn holds(self, left: usize, right: usize) -> bool {
        match self {
            Relation::Harms => PLANTS[right].pest == PESTS[left].many,
            Relation::Eats => PESTS[right].helper == ANIMALS[left].one,
            Relation::Flowers => PLANTS[left].usage == Use::Flower && PLANTS[left].season == SEASONS[right],
            Relation::Ripe => PLANTS[left].usage == Use::Crop && PLANTS[left].season == SEASONS[right],
            Relation::Colour => PLANTS[left].colour == COLOURS[right],
            Relation::Grows => PEOPLE[left].grows.contains(&PLANTS[right].one),
            Relation::Lives => PEOPLE[left].home == PLACES[right],
            Relation::Likes => PEOPLE[left].likes == PLANTS[right].one,
            Relation::Dish => PLANTS[left].dish == PLANTS[right].dish && PLANTS[left].usage == Use::Crop,
            Relation::Friend => PEOPLE[left].friend == PEOPLE[right].name,
        }
    }
}

/// The number of a plant by its singular name.
///
/// # Panics
/// For a name that no plant has: a mistake in these tables.
pub fn plant(one: &str) -> usize {
    position(PLANTS.iter().map(|plant| plant.one), one)
}

/// The number of a person by name.
///
/// # Panics
/// For a name that nobody has.
pub fn somebody(name: &str) -> usize {
    position(PEOPLE.iter().map(|person| person.name), name)
}

/// The number of a name in one of the tables.
///
/// # Panics
/// For a name that is not there.
pub fn position<'a>(mut names: impl Iterator<Item = &'a str>, name: &str) -> usize {
    names.position(|known| known == name).unwrap_or_else(|| panic!("the little world has no {name:?}"))
}
