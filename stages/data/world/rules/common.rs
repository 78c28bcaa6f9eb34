//! Frames of every story: who and where, the garden and its facts, the weather, work, thanks and endings.

use super::Table;

pub(super) const SENTENCES: &Table = &[
    (
        "open",
        &[
            "<once> <a_kind> {hero.trade} called {hero} lived near the {home}. #lives hero home",
            "<once> there was <a_kind> {hero.trade} called {hero}.",
            "{hero} was <a_kind> {hero.trade} who lived near the {home}. #lives hero home",
            "{hero} the {hero.trade} lived in a <cosy> house near the {home}. #lives hero home",
            "in a <cosy> house near the {home} lived <a_kind> {hero.trade} called {hero}. #lives hero home",
            "near the {home} lived {hero}, <a_kind> {hero.trade}. #lives hero home",
            "{hero} lived near the {home} and worked as a {hero.trade}. #lives hero home",
        ],
    ),
    (
        "garden",
        &[
            "{hero.he} grew {plant.s} and {other.s} in a <small> garden behind the house.",
            "{hero.his} garden was full of {plant.s} and {other.s}.",
            "behind the house {hero.he} grew {plant.s}, and {hero.he} loved them very much.",
            "in {hero.his} garden {hero} grew {plant.s} and {other.s}. #grows hero plant #grows hero other",
            "{hero} grew the best {plant.s} in the village. #grows hero plant",
            "everybody in the village knew the {plant.s} in {hero.his} garden.",
            "{hero.he} had a <small> garden, where {hero.he} grew {plant.s}.",
        ],
    ),
    (
        "flower_fact",
        &[
            "{flower.s} flower in {bloom}. #flowers flower bloom",
            "every {bloom} the {flower.s} opened, and the garden was {colour}. \
                #flowers flower bloom #colour flower colour",
            "{hero.his} {flower.s} were {colour}. #colour flower colour",
            "{hero} waited for {bloom}, because {flower.s} flower in {bloom}. #flowers flower bloom",
            "the {flower.s} were {colour} and <lovely>. #colour flower colour",
            "people stopped at the fence to look at the {colour} {flower.s}. #colour flower colour",
        ],
    ),
    (
        "crop_fact",
        &[
            "{crop.s} are ripe in {bloom}. #ripe crop bloom",
            "every {bloom} {hero.he} filled a basket with {crop.s}. #ripe crop bloom",
            "{hero} waited for {bloom}, because {crop.s} are ripe in {bloom}. #ripe crop bloom",
            "when they are ripe, {crop.s} are {colour}. #colour crop colour",
            "the {crop.s} were {colour} and <lovely>. #colour crop colour",
            "from the {crop.s} {hero.he} made {meal.dish} every {bloom}. #dish crop meal #ripe crop bloom",
        ],
    ),
    (
        "flower_now",
        &[
            "it was {bloom}, and the {colour} {flower.s} were open. #flowers flower bloom #colour flower colour",
            "that {bloom} there were more {flower.s} than ever before. #flowers flower bloom",
            "the first {flower.s} were open, and the garden was {colour}. #colour flower colour",
            "it was the time of the {flower.s}, and everybody came to see them.",
        ],
    ),
    (
        "crop_now",
        &[
            "it was {bloom}, and the {crop.s} were almost ripe. #ripe crop bloom",
            "that {bloom} there were more {crop.s} than ever before. #ripe crop bloom",
            "the first {crop.s} were {colour} and big. #colour crop colour",
            "it was the time of the {crop.s}, and there was a lot of work.",
        ],
    ),
    (
        "spring",
        &[
            "the snow was gone, and the ground was soft.",
            "warm rain fell on the gardens, and everything began to grow.",
            "the birds came back to the village and sang all day.",
            "that spring the sun was warm and the wind was soft.",
            "small green leaves came out of the ground.",
        ],
    ),
    (
        "summer",
        &[
            "the sun was hot, and the days were long.",
            "that summer the sky was blue for many days.",
            "bees flew from one garden to the next.",
            "it was so warm that the children slept under the trees.",
            "the grass was high, and the air smelled of flowers.",
        ],
    ),
    (
        "autumn",
        &[
            "the leaves of the trees turned yellow and fell to the ground.",
            "that autumn the wind was cold, and the mornings were grey.",
            "the days were short, and the people brought wood into their houses.",
            "a cold rain fell on the roofs of the village.",
            "in the evening there was fog over the river.",
        ],
    ),
    (
        "winter",
        &[
            "snow lay on the roofs of the village.",
            "the river was frozen, and the children played on the ice.",
            "that winter the nights were long and cold.",
            "smoke came out of every house in the village.",
            "the garden was quiet under the snow.",
        ],
    ),
    (
        "work",
        &[
            "every morning {hero} went into the garden and looked at the {plant.s}.",
            "{hero.he} watered the {plant.s} every day.",
            "every evening {hero.he} carried water from the well to the garden.",
            "{hero} worked <hard> in the garden until it was dark.",
            "{hero} took {hero.his} {tool} and went to work in the garden.",
            "in the morning {hero.he} pulled out the weeds and cut the grass.",
            "{hero} sang a song while {hero.he} worked.",
        ],
    ),
    (
        "glad",
        &[
            "{hero} was <happy>.",
            "{hero} was so <happy> that {hero.he} began to sing.",
            "{hero} laughed, and {friend} laughed too.",
            "both friends were <happy>.",
            "{hero.he} looked at the garden and was <happy>.",
            "{friend} was <happy>, and so was {hero}.",
        ],
    ),
    (
        "thanks",
        &[
            "\"thank you, {friend},\" said {hero}.",
            "\"you are a good friend,\" said {hero}.",
            "\"thank you for your help,\" said {hero}, and {hero.he} smiled.",
            "{hero} thanked {friend} and gave {friend.him} a basket of <good> things.",
            "{hero} said, \"thank you, I will never forget this.\"",
            "\"how can I thank you?\" asked {hero}.",
        ],
    ),
    (
        "reply",
        &[
            "\"it was nothing,\" <said> {friend}.",
            "\"friends help each other,\" <said> {friend}.",
            "\"I was glad to help,\" <said> {friend} with a smile.",
            "{friend} smiled and said, \"come and see me soon.\"",
            "\"next time you will help me,\" <said> {friend}.",
        ],
    ),
    (
        "supper",
        &[
            "then they sat on the bench and drank tea.",
            "in the evening they ate bread and soup together.",
            "they sat in the garden until the stars came out.",
            "{friend} stayed for supper, and they talked for a long time.",
            "then {hero} made tea, and {friend} told a story about the {there}.",
        ],
    ),
    (
        "end",
        &[
            "that night {hero} slept well.",
            "from that day on {hero} and {friend} met every week.",
            "and the garden was <lovely> again.",
            "when {hero} went home, the moon stood over the {there}.",
            "people in the village still tell this story.",
            "and {hero} never forgot that day.",
            "since then the two friends have worked together every {season}.",
            "it was a good end to a long day.",
        ],
    ),
];

pub(super) const PHRASES: &Table = &[
    ("once", &["once", "long ago", "many years ago", "not long ago"]),
    (
        "a_kind",
        &[
            "a kind",
            "a young",
            "an old",
            "a quiet",
            "a cheerful",
            "a clever",
            "a careful",
            "a friendly",
            "a gentle",
            "a brave",
            "a curious",
            "a patient",
            "an honest",
        ],
    ),
    ("cosy", &["small", "big", "little", "white", "pretty", "crooked", "warm", "narrow"]),
    ("small", &["small", "big", "little", "pretty", "quiet", "sunny"]),
    ("lovely", &["lovely", "beautiful", "healthy", "strong", "bright", "wonderful"]),
    ("weak", &["weak", "pale", "sick", "tired"]),
    ("good", &["good", "fresh", "sweet", "tasty"]),
    ("happy", &["happy", "glad", "very happy", "proud", "cheerful", "full of joy"]),
    ("sad", &["sad", "worried", "very sad", "unhappy", "afraid", "angry"]),
    ("hard", &["hard", "slowly", "carefully", "quietly", "for hours"]),
    ("quickly", &["quickly", "slowly", "at once", "carefully"]),
    ("said", &["said", "answered", "replied"]),
    ("cried", &["cried", "called", "shouted"]),
    (
        "when",
        &[
            "one morning",
            "one day",
            "one evening",
            "one afternoon",
            "early one morning",
            "late one evening",
            "one {season} morning",
            "one {season} day",
        ],
    ),
    (
        "later",
        &["the next day", "the next morning", "a few days later", "a week later", "soon", "after some time", "at last"],
    ),
    ("then", &["then", "after that", "so", "the same day"]),
    ("hidden", &["under the bench", "behind the shed", "in the high grass", "under some leaves", "next to the fence"]),
];
