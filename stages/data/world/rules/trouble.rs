//! Frames of stories in which something goes wrong: pests, storms, dry weather, lost tools, a quarrel.

use super::Table;

pub(super) const SENTENCES: &Table = &[
    (
        "pest_seen",
        &[
            "<when> {hero} saw {pest.s} on the leaves of the {plant.s}. #harms pest plant",
            "<when> {hero} found {pest.s} on {hero.his} {plant.s}. #harms pest plant",
            "<when> there were {pest.s} all over the {plant.s}. #harms pest plant",
            "<when> {hero.he} saw that {pest.s} had come into the garden.",
            "but <when> {hero.he} found {pest.a} on every plant.",
        ],
    ),
    (
        "pest_harm",
        &[
            "{pest.s} harm {plant.s}, and soon the plants looked <weak>. #harms pest plant",
            "the {pest.s} ate the young leaves, and the {plant.s} became <weak>. #harms pest plant",
            "every night the {pest.s} ate a little more of the {plant.s}. #harms pest plant",
            "the {plant.s} were <weak>, because {pest.s} harm {plant.s}. #harms pest plant",
            "after three days the {plant.s} were <weak> and full of holes.",
        ],
    ),
    (
        "worry",
        &[
            "{hero} was <sad>.",
            "{hero} was <sad> and did not know what to do.",
            "{hero} was so <sad> that {hero.he} could not sleep.",
            "\"what can I do?\" asked {hero}.",
            "{hero.he} sat down on the bench and was <sad>.",
        ],
    ),
    (
        "lament",
        &[
            "\"my poor {plant.s}!\" <cried> {hero}.",
            "\"my {plant.s} will die,\" said {hero}.",
            "{hero} loved the {plant.s} and was <sad>.",
            "\"who can save my {plant.s}?\" asked {hero}.",
        ],
    ),
    (
        "to_friend",
        &[
            "<then> {hero.he} went to {friend}, who lived near the {there}. #lives friend there",
            "<then> {hero} walked to the {there} to see {friend}. #lives friend there",
            "<then> {hero.he} asked {hero.his} friend {friend} for help.",
            "<then> {hero} told {friend} the {friend.trade} everything.",
            "{hero.he} knew that {friend} the {friend.trade} was clever, so {hero.he} went to {friend.him}.",
        ],
    ),
    (
        "pest_asked",
        &[
            "\"there are {pest.s} on my {plant.s},\" said {hero}. #harms pest plant",
            "\"what eats {pest.s}?\" asked {hero}.",
            "\"the {pest.s} are eating my {plant.s},\" said {hero}. #harms pest plant",
            "\"do you know what to do about {pest.s}?\" asked {hero}.",
            "{friend} asked, \"are there {pest.s} on your {plant.s}?\" #harms pest plant",
        ],
    ),
    (
        "pest_advice",
        &[
            "\"{helper.s} eat {pest.s},\" <said> {friend}. #eats helper pest",
            "\"you need {helper.a}, because {helper.s} eat {pest.s},\" <said> {friend}. #eats helper pest",
            "{friend} smiled and said, \"{helper.s} eat {pest.s}.\" #eats helper pest",
            "\"bring {helper.a} into your garden,\" <said> {friend}.",
            "{friend} thought about it and said, \"{helper.a} can help you.\"",
            "\"do not worry, {helper.s} eat {pest.s},\" <said> {friend}. #eats helper pest",
        ],
    ),
    (
        "pest_help",
        &[
            "together they made a <small> home for {helper.a} in the garden.",
            "<then> they put some water and leaves under the fence for the {helper.s}.",
            "<then> {friend} showed {hero} where the {helper.s} lived.",
            "in the evening {helper.a} came into the garden.",
            "they waited quietly, and {helper.a} came.",
        ],
    ),
    (
        "pest_gone",
        &[
            "<later> the {pest.s} were gone.",
            "the {helper} ate one {pest} after the other. #eats helper pest",
            "<later> the {helper.s} had eaten all the {pest.s}. #eats helper pest",
            "<later> {hero} could not find one {pest} in the garden.",
        ],
    ),
    (
        "recovered",
        &[
            "<later> the {plant.s} were <lovely> again.",
            "new leaves grew, and the {plant.s} were <lovely>.",
            "the {plant.s} grew <lovely>, and {hero} was <happy>.",
            "<later> {hero} saw new green leaves on the {plant.s}.",
        ],
    ),
    (
        "pest_end",
        &[
            "since then {hero} has been a friend of all {helper.s}.",
            "{hero} never forgot that {helper.s} eat {pest.s}. #eats helper pest",
            "and when {hero} sees {helper.a} today, {hero.he} smiles.",
            "now {hero} looks for {pest.s} every morning.",
        ],
    ),
    (
        "storm",
        &[
            "<when> a storm came over the village.",
            "<when> the sky became black, and a storm began.",
            "<when> a strong wind blew from the {there}.",
            "in the night there was a storm with thunder and rain.",
        ],
    ),
    (
        "storm_harm",
        &[
            "the wind broke the fence, and the {plant.s} lay on the ground.",
            "the rain was so heavy that the {plant.s} lay in the water.",
            "a tree fell on the fence and broke it.",
            "in the morning {hero} found the {plant.s} on the ground.",
            "when the storm was over, half of the {plant.s} were broken.",
        ],
    ),
    (
        "storm_help",
        &[
            "<then> {friend} came with {tool.a} and a rope.",
            "\"I will help you,\" said {friend}, and {friend.he} took {tool.a}.",
            "{friend} heard about it and came <quickly>.",
            "\"we can save the {plant.s},\" said {friend}.",
        ],
    ),
    (
        "storm_work",
        &[
            "they tied every plant to a stick.",
            "{hero} held the wood, and {friend} repaired the fence.",
            "they lifted the plants <quickly> and pressed the ground with their hands.",
            "together they worked until the fence stood again.",
            "{friend} cut the broken branches, and {hero} carried them away.",
        ],
    ),
    (
        "dry",
        &[
            "for three weeks there was no rain.",
            "the sun burned, and the ground became dry and hard.",
            "<when> the well in the garden was empty.",
            "it did not rain, and the {plant.s} needed water.",
        ],
    ),
    (
        "dry_harm",
        &[
            "the leaves of the {plant.s} became brown.",
            "the {plant.s} looked <weak>, because they had no water.",
            "{hero} saw that the {plant.s} were dying.",
            "without water {plant.s} cannot grow.",
        ],
    ),
    (
        "dry_help",
        &[
            "\"there is water in the river,\" said {friend}.",
            "<then> {friend} came with two buckets.",
            "\"let us carry water from the river,\" said {friend}.",
            "{friend} the {friend.trade} had a cart, and on the cart was a barrel of water.",
        ],
    ),
    (
        "dry_work",
        &[
            "they carried water from the river to the garden all day.",
            "{hero} gave every plant a little water.",
            "every evening the two friends carried water until their arms were tired.",
            "they put straw on the ground, so that the water stayed in it.",
        ],
    ),
    (
        "rain",
        &[
            "<later> clouds came, and it began to rain.",
            "<later> the rain came, and {hero} danced in it.",
            "at last it rained for two days.",
            "\"it is raining!\" <cried> {hero}.",
        ],
    ),
    (
        "lost",
        &[
            "<when> {hero} could not find {hero.his} {tool}.",
            "<when> the {tool} was gone.",
            "<when> {hero} wanted to work, but {hero.his} {tool} was not there.",
            "\"where is my {tool}?\" asked {hero}.",
        ],
    ),
    (
        "search",
        &[
            "{hero.he} looked in the shed, but the {tool} was not there.",
            "{hero.he} looked <hidden> and found only an old shoe.",
            "{hero} looked for it in every corner of the house.",
            "without {hero.his} {tool} {hero.he} could not work.",
            "{hero.he} asked everybody in the village about the {tool}.",
        ],
    ),
    (
        "lost_help",
        &[
            "\"I saw {tool.a} near the {there},\" <said> {friend}.",
            "\"when did you have it last?\" asked {friend}.",
            "\"let us look for it together,\" <said> {friend}.",
            "{friend} thought about it and said, \"you had it near the {there}.\"",
        ],
    ),
    (
        "found",
        &[
            "they went to the {there}, and there lay the {tool}.",
            "the {tool} lay <hidden>.",
            "<later> they found the {tool} <hidden>.",
            "\"here it is!\" <cried> {friend}, and {friend.he} held up the {tool}.",
        ],
    ),
    (
        "lost_end",
        &[
            "since then {hero} always puts the {tool} back into the shed.",
            "{hero} cleaned the {tool} and put it in the shed.",
            "now the {tool} hangs on the wall of the shed.",
        ],
    ),
    (
        "quarrel",
        &[
            "<when> {friend} came to see {hero} and did not look at the ground.",
            "<when> {friend} ran through the garden after a ball.",
            "<when> {friend} came with a heavy cart.",
        ],
    ),
    (
        "quarrel_harm",
        &[
            "{friend.he} stepped on the young {plant.s} and broke them.",
            "the cart rolled over the {plant.s}.",
            "the ball fell into the {plant.s} and broke three of them.",
        ],
    ),
    (
        "quarrel_words",
        &[
            "\"look what you have done!\" <cried> {hero}.",
            "\"you never look where you go!\" <cried> {hero}.",
            "{hero} was so angry that {hero.he} went into the house.",
            "for two days {hero} did not speak to {friend}.",
        ],
    ),
    (
        "sorry",
        &[
            "\"I am sorry,\" <said> {friend}.",
            "{friend} was <sad> and said, \"it was my fault.\"",
            "<later> {friend} came back and said, \"please forgive me.\"",
            "<later> {friend} knocked on the door with a box of young {plant.s}.",
        ],
    ),
    (
        "forgiven",
        &[
            "\"I forgive you,\" <said> {hero}.",
            "\"I was too angry,\" <said> {hero}, and {hero.he} gave {friend.him} {hero.his} hand.",
            "{hero} looked at {friend} and could not be angry any more.",
        ],
    ),
    (
        "replant",
        &[
            "together they planted new {plant.s}.",
            "{friend} dug the holes, and {hero} planted the {plant.s}.",
            "<then> they took {tool.a} and planted the {plant.s} again.",
        ],
    ),
];
