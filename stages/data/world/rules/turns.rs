//! Frames of stories in which something good happens: a feast, a present, a lesson, a visitor, the market.

use super::Table;

pub(super) const SENTENCES: &Table = &[
    (
        "harvest",
        &[
            "<when> the {crop.s} were ripe.",
            "<when> {hero} took {tool.a} and went to the {crop.s}.",
            "<when> {hero.he} picked the first {crop.s}.",
            "<when> {hero.he} filled three baskets with {crop.s}.",
            "\"the {crop.s} are ripe!\" <cried> {hero}.",
        ],
    ),
    (
        "too_many",
        &[
            "there were so many {crop.s} that {hero} could not eat them alone.",
            "\"I cannot eat all these {crop.s} alone,\" said {hero}.",
            "the kitchen was full of {crop.s}.",
            "{hero.he} looked at the baskets and had an idea.",
        ],
    ),
    (
        "cook",
        &[
            "{hero.he} washed the {crop.s} and made {meal.dish}. #dish crop meal",
            "{hero} made {meal.dish} from the {crop.s}. #dish crop meal",
            "<then> {hero.he} cut the {crop.s} with a knife and put them into a pot.",
            "soon the whole house smelled of {meal.dish}.",
            "{hero.he} had learned from an old book how to make {meal.dish}.",
        ],
    ),
    (
        "invite",
        &[
            "<then> {hero} invited {friend} the {friend.trade}.",
            "<then> {hero.he} went to the {there} and invited {friend}. #lives friend there",
            "\"come and eat with me,\" said {hero} to {friend}.",
            "{hero} wrote a letter to {friend}, who lived near the {there}. #lives friend there",
        ],
    ),
    (
        "come",
        &[
            "in the evening {friend} came with bread and cheese.",
            "{friend} came at once and brought a bunch of flowers.",
            "\"it smells so good here!\" <cried> {friend} at the door.",
            "{friend} put on a clean shirt and came to the house.",
        ],
    ),
    (
        "eat",
        &[
            "\"this is the best {meal.dish} in the village,\" <said> {friend}.",
            "they ate the {meal.dish} and laughed a lot.",
            "{friend} ate three plates of {meal.dish}.",
            "\"can I have some more {meal.dish}?\" asked {friend}.",
            "they ate until the pot was empty.",
        ],
    ),
    (
        "recipe",
        &[
            "\"how do you make {meal.dish}?\" asked {friend}.",
            "\"I make {meal.dish} from fresh {crop.s},\" <said> {hero}. #dish crop meal",
            "\"take {crop.s}, water and a little salt,\" <said> {hero}.",
            "{hero} gave {friend} a basket of {crop.s} to take home.",
        ],
    ),
    (
        "birthday",
        &[
            "<when> {hero} thought of {friend}, because it was {friend.his} birthday.",
            "it was the birthday of {friend} the {friend.trade}.",
            "\"tomorrow is your birthday,\" said {hero} to {friend}.",
            "{friend} was ill and lay in bed, and {hero} wanted to visit {friend.him}.",
        ],
    ),
    (
        "idea",
        &[
            "{hero} wanted to give {friend.him} something beautiful.",
            "\"what would make {friend} happy?\" asked {hero}.",
            "{hero} thought about it the whole night.",
            "{hero} had no money, but {hero.he} had a garden.",
        ],
    ),
    (
        "liking",
        &[
            "{friend} liked {favourite.s} more than all other flowers. #likes friend favourite",
            "{hero} knew that {friend} liked {favourite.s} best. #likes friend favourite",
            "\"{friend} likes {favourite.s} best,\" said {hero}. #likes friend favourite",
            "the flowers that {friend} liked best were {favourite.s}. #likes friend favourite",
        ],
    ),
    (
        "picking",
        &[
            "<then> {hero} took a basket and picked {favourite.s}.",
            "<then> {hero.he} cut twelve {favourite.s} and tied them with a ribbon.",
            "{hero} walked to the {there} and looked for {favourite.s}.",
            "{hero.he} picked the most beautiful {favourite.s} in the garden.",
        ],
    ),
    (
        "giving",
        &[
            "\"these {favourite.s} are for you,\" said {hero}.",
            "{hero} gave {friend} the {favourite.s}.",
            "{hero} knocked on the door and held up the {favourite.s}.",
            "{hero.he} put the {favourite.s} on the table in front of {friend}.",
        ],
    ),
    (
        "gift_joy",
        &[
            "\"they are wonderful!\" <cried> {friend}.",
            "{friend} put the {favourite.s} in water and smiled.",
            "\"nobody has ever given me such {favourite.s},\" <said> {friend}.",
            "the whole room smelled of {favourite.s}.",
        ],
    ),
    (
        "wish",
        &[
            "<when> {friend} came and looked over the fence.",
            "<when> {friend} wanted to have a garden too.",
            "\"I want to grow {plant.s},\" said {friend}.",
            "{friend} had never worked in a garden before.",
        ],
    ),
    (
        "flower_question",
        &[
            "\"when do {flower.s} flower?\" asked {friend}.",
            "\"what must I know about {flower.s}?\" asked {friend}.",
            "\"can you tell me something about {flower.s}?\" asked {friend}.",
        ],
    ),
    (
        "flower_answer",
        &[
            "\"{flower.s} flower in {bloom},\" <said> {hero}. #flowers flower bloom",
            "\"{flower.s} are {colour}, and they flower in {bloom},\" <said> {hero}. \
                #flowers flower bloom #colour flower colour",
            "{hero} said, \"wait until {bloom}, then you will see {colour} {flower.s}.\" \
                #flowers flower bloom #colour flower colour",
        ],
    ),
    (
        "crop_question",
        &[
            "\"when are {crop.s} ripe?\" asked {friend}.",
            "\"what must I know about {crop.s}?\" asked {friend}.",
            "\"can you tell me something about {crop.s}?\" asked {friend}.",
        ],
    ),
    (
        "crop_answer",
        &[
            "\"{crop.s} are ripe in {bloom},\" <said> {hero}. #ripe crop bloom",
            "\"{crop.s} are ripe in {bloom}, and you can make {meal.dish} from them,\" <said> {hero}. \
                #ripe crop bloom #dish crop meal",
            "{hero} said, \"in {bloom} they are ripe, and then we make {meal.dish}.\"",
        ],
    ),
    (
        "danger_question",
        &[
            "\"what harms {plant.s}?\" asked {friend}.",
            "\"do {plant.s} have enemies?\" asked {friend}.",
            "{friend} asked, \"what must I be careful about?\"",
        ],
    ),
    (
        "danger_answer",
        &[
            "\"{pest.s} harm {plant.s},\" <said> {hero}. #harms pest plant",
            "\"be careful, because {pest.s} harm {plant.s},\" <said> {hero}. #harms pest plant",
            "\"{pest.s} harm {plant.s}, but {helper.s} eat {pest.s},\" <said> {hero}. \
                #harms pest plant #eats helper pest",
        ],
    ),
    (
        "seeds",
        &[
            "<then> {hero} gave {friend} a bag of seeds.",
            "{hero} showed {friend} how to use {tool.a}.",
            "they dug the ground and put the seeds into it.",
            "{friend} wrote everything down in a little book.",
        ],
    ),
    (
        "grown",
        &[
            "<later> the first green leaves came out of the ground.",
            "a year later {friend} had {plant.s} too.",
            "every week {hero} came and looked at the young {plant.s}.",
            "\"look, they are growing!\" <cried> {friend}.",
        ],
    ),
    (
        "visitor",
        &[
            "<when> {hero} heard a noise in the garden.",
            "<when> something moved under the {plant.s}.",
            "<when> {hero} found a little {helper} next to the fence.",
            "\"who is there?\" asked {hero}.",
        ],
    ),
    (
        "visitor_seen",
        &[
            "it was {helper.a}, and it was hungry.",
            "it was {helper.a} that could not walk.",
            "between the {plant.s} sat {helper.a} and looked at {hero.him}.",
            "\"come and look, there is {helper.a} in my garden!\" <cried> {hero}.",
        ],
    ),
    (
        "visitor_care",
        &[
            "{hero} brought it some water and a warm box.",
            "{friend} knew a lot about {helper.s} and came to help.",
            "\"{helper.s} eat {pest.s},\" <said> {friend}. #eats helper pest",
            "they put the {helper} in a box with dry leaves.",
            "\"what do {helper.s} eat?\" asked {hero}.",
        ],
    ),
    (
        "visitor_stays",
        &[
            "<later> the {helper} was strong again.",
            "the {helper} stayed in the garden and ate {pest.s}. #eats helper pest",
            "since that day the {helper} has lived under the {plant.s}.",
            "<later> the {helper} came back with four little {helper.s}.",
        ],
    ),
    (
        "market",
        &[
            "<when> {hero} took {hero.his} {plant.s} to the market.",
            "<when> there was a market in the village, and {hero} went there with {plant.s}.",
            "<when> {hero.he} put the best {plant.s} into a basket and went to the market.",
        ],
    ),
    (
        "market_scene",
        &[
            "people came from near and far.",
            "the market was loud, and there were people from every village.",
            "next to {hero.him} stood {friend} the {friend.trade}.",
            "\"fresh {plant.s}!\" <cried> {hero}.",
        ],
    ),
    (
        "market_worry",
        &[
            "many people came, but nobody wanted to buy {plant.s}.",
            "{hero} stood there for two hours and sold nothing.",
            "nobody looked at {hero.his} {plant.s}.",
        ],
    ),
    (
        "market_turn",
        &[
            "<then> {friend} called, \"these are the best {plant.s} in the village!\"",
            "\"let me help you,\" said {friend}, and {friend.he} began to sing.",
            "an old woman bought one, and then everybody wanted {plant.s}.",
            "\"what do they cost?\" asked a little girl.",
        ],
    ),
    (
        "market_end",
        &[
            "in the evening the basket was empty.",
            "with the money {hero} bought {tool.a} for {friend}.",
            "{hero} gave {friend} half of the money.",
            "<then> they bought a cake and shared it.",
        ],
    ),
];
