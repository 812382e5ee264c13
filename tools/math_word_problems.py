"""Templates of the GSM8K sample: word problems written for this project. `make_math_samples.py` fills them in.

In a question, `{name}` is a parameter or one of who, he, his, him. In a solution, `[[result = expression]]` is a
step: it is written out with the figures, computed, and annotated; with `~` for `=` its result need not be whole.
`answer` is the same quantity by a formula in the parameters alone, so that two ways of computing must agree. A range
is `low-high` or `low-high:step`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of problem."""

    key: str
    question: str
    solution: str
    answer: str
    ranges: dict[str, str]


def _t(key: str, question: str, solution: str, answer: str, **ranges: str) -> Template:
    return Template(key, question, solution, answer, ranges)


POOL = (
    _t(
        "hives",
        "{who} keeps {hives} bee hives. Every hive fills {spring} jars with honey in spring and {more} jars more than "
        "that in summer. The jars go for ${price} apiece at the fair. How many dollars do all the jars bring in?",
        "In summer a hive fills [[summer = spring + more]] jars.\n"
        "Over both seasons one hive fills [[both = spring + summer]] jars.\n"
        "All hives together fill [[jars = hives * both]] jars.\n"
        "They bring in $[[money = jars * price]].",
        "hives * (2 * spring + more) * price",
        hives="4-9",
        spring="6-15",
        more="3-8",
        price="3.50-9.50:0.50",
    ),
    _t(
        "kiln",
        "A potter loads a kiln with {shelves} shelves of {per} cups. During the firing {cracked} cups crack, and the "
        "potter keeps {kept} of the good ones as gifts. The rest are packed in boxes of {box}. How many boxes are "
        "filled?",
        "The kiln holds [[cups = shelves * per]] cups.\n"
        "After the firing [[good = cups - cracked]] of them are good.\n"
        "Without the gifts there are [[rest = good - kept]] cups to pack.\n"
        "They fill [[boxes = rest / box]] boxes.",
        "(shelves * per - cracked - kept) / box",
        shelves="5-9",
        per="11-24",
        cracked="3-9",
        kept="4-12",
        box="4-9",
    ),
    _t(
        "tram",
        "A tram leaves the depot with {start} passengers. At the market {off} of them get off and {on} people get on. "
        "At the bridge a quarter of those on board get off. How many passengers ride on past the bridge?",
        "After the first people leave at the market, [[left = start - off]] passengers remain.\n"
        "With the new ones there are [[full = left + on]] on board.\n"
        "At the bridge [[gone = full / 4]] of them get off.\n"
        "So [[stay = full - gone]] passengers ride on.",
        "(start - off + on) * 3 / 4",
        start="30-60",
        off="8-19",
        on="13-29",
    ),
    _t(
        "loom",
        "{who} weaves {morning} centimetres of cloth every morning and {evening} centimetres every evening. A shawl "
        "takes "
        "{shawl} centimetres. How many whole days of weaving are needed for {count} shawls?",
        "In one day {he} weaves [[day = morning + evening]] centimetres.\n"
        "The shawls take [[cloth = shawl * count]] centimetres of cloth.\n"
        "That is [[days = cloth / day]] days of weaving.",
        "shawl * count / (morning + evening)",
        morning="13-35",
        evening="11-27",
        shawl="120-240:10",
        count="3-9",
    ),
    _t(
        "mushrooms",
        "A mushroom cellar has {racks} racks. Each rack yields {kilos} kilograms a week, but damp spoils {spoilt} "
        "kilograms of the whole week's yield. A restaurant pays ${price} for a kilogram and the cellar's running costs "
        "are ${costs} a week. What profit in dollars is left for the week?",
        "The racks yield [[crop = racks * kilos]] kilograms.\n"
        "Of these [[sold = crop - spoilt]] kilograms can be sold.\n"
        "The restaurant pays $[[income = sold * price]].\n"
        "After costs a profit of $[[profit = income - costs]] is left.",
        "(racks * kilos - spoilt) * price - costs",
        racks="8-17",
        kilos="6-14",
        spoilt="5-19",
        price="6-13",
        costs="110-290:10",
    ),
    _t(
        "planetarium",
        "A planetarium has {rows} rows of {seats} seats. For the evening show {pct}% of the seats are taken, and "
        "{late} more visitors come in late. How many seats stay empty?",
        "There are [[all = rows * seats]] seats.\n"
        "At the start [[taken = all * pct / 100]] of them are taken.\n"
        "With the late visitors [[full = taken + late]] are taken.\n"
        "So [[empty = all - full]] seats stay empty.",
        "rows * seats * (100 - pct) / 100 - late",
        rows="6-15",
        seats="15-30:5",
        pct="40-85:5",
        late="4-14",
    ),
    _t(
        "ferry",
        "A ferry burns {rate} litres of fuel an hour under way and the crossing takes {hours} hours. It makes {trips} "
        "crossings a day. If the tank holds {tank} litres and is full at dawn, how many litres are in it when the day "
        "is "
        "over?",
        "One crossing burns [[one = rate * hours]] litres.\n"
        "The day's crossings burn [[burnt = one * trips]] litres.\n"
        "At the end [[left = tank - burnt]] litres are in the tank.",
        "tank - rate * hours * trips",
        rate="26-48",
        hours="2-3",
        trips="4-6",
        tank="900-1500:50",
    ),
    _t(
        "binding",
        "{who} binds books by hand. A book is sewn from {sections} sections of {sheets} sheets each. {He} has {packs} "
        "packs "
        "of {pack} sheets, and {torn} sheets turn out to be torn. How many whole books can {he} bind if no good sheet "
        "is "
        "left over?",
        "One book takes [[book = sections * sheets]] sheets.\n"
        "The packs hold [[paper = packs * pack]] sheets.\n"
        "Of these [[good = paper - torn]] are good.\n"
        "They make [[books = good / book]] books.",
        "(packs * pack - torn) / (sections * sheets)",
        sections="5-11",
        sheets="4-8",
        packs="3-9",
        pack="50-150:25",
        torn="6-30",
    ),
    _t(
        "kayaks",
        "A lake club rents out {single} single kayaks at ${ps} and {double} double kayaks at ${pd} for an afternoon. "
        "It hands {pct}% of what it takes to the lifeguards. How many dollars does the club keep?",
        "The single kayaks earn $[[a ~ single * ps]].\n"
        "The double kayaks earn $[[b = double * pd]].\n"
        "Together that is $[[sum ~ a + b]].\n"
        "The lifeguards get $[[gift ~ sum * pct / 100]].\n"
        "The club keeps $[[kept = sum - gift]].",
        "(single * ps + double * pd) * (100 - pct) / 100",
        single="6-18",
        ps="12.50-19.50:0.50",
        double="5-11",
        pd="21-32",
        pct="10-40:5",
    ),
    _t(
        "choir",
        "A choir has {alto} altos. There are {more} more sopranos than altos, and half as many basses as sopranos. "
        "How many singers are in these voices altogether?",
        "There are [[sop = alto + more]] sopranos.\n"
        "There are [[bass = sop / 2]] basses.\n"
        "Altos and sopranos are [[high = alto + sop]] singers.\n"
        "Altogether that makes [[all = high + bass]] singers.",
        "alto + (alto + more) * 3 / 2",
        alto="13-29",
        more="5-19",
    ),
    _t(
        "recycling",
        "A school collects bottles for recycling. The first week brings {first} bottles, the second week {times} "
        "times as "
        "many, and the third week {fewer} fewer than the second. The depot pays ${pay} for every {lot} bottles. How "
        "many "
        "dollars does the school get?",
        "The second week brings [[second = first * times]] bottles.\n"
        "The third week brings [[third = second - fewer]] bottles.\n"
        "The first and second weeks bring [[two = first + second]] bottles.\n"
        "All weeks bring [[all = two + third]] bottles.\n"
        "That is [[lots = all / lot]] lots.\n"
        "The school gets $[[money = lots * pay]].",
        "(first + 2 * first * times - fewer) / lot * pay",
        first="45-95:5",
        times="3-4",
        fewer="15-60:5",
        lot="20-50:5",
        pay="6-9",
    ),
    _t(
        "radio",
        "A radio station plays {songs} songs of {len} minutes in its morning programme, and the news takes {news} "
        "minutes. "
        "The programme lasts {hours} hours. The remaining time is split evenly over {ads} advertisements. How many "
        "minutes "
        "long is each advertisement?",
        "The songs take [[music = songs * len]] minutes.\n"
        "With the news that is [[used = music + news]] minutes.\n"
        "The programme has [[all = hours * 60]] minutes.\n"
        "For advertisements [[free = all - used]] minutes remain.\n"
        "Each is [[ad = free / ads]] minutes long.",
        "(60 * hours - songs * len - news) / ads",
        songs="18-38",
        len="4-5",
        news="16-34",
        hours="3-4",
        ads="6-9",
    ),
    _t(
        "dogs",
        "A sled team of {dogs} dogs eats {grams} grams of meat per dog each day. The driver packs meat for {days} "
        "days and "
        "adds {spare} kilograms to be safe. How many kilograms of meat are on the sled?",
        "In a day the team eats [[day = dogs * grams]] grams.\n"
        "For the whole trip that is [[trip = day * days]] grams.\n"
        "That is [[kilos ~ trip / 1000]] kilograms.\n"
        "With the spare meat there are [[all = kilos + spare]] kilograms.",
        "dogs * grams * days / 1000 + spare",
        dogs="6-14",
        grams="350-900:50",
        days="6-15",
        spare="13-24",
    ),
    _t(
        "scans",
        "An archive has {shelves} shelves with {boxes} boxes each, and {letters} letters in each box. A scanner "
        "handles "
        "{rate} letters an hour. How many hours does it take to scan everything?",
        "The shelves hold [[all = shelves * boxes]] boxes.\n"
        "In them are [[count = all * letters]] letters.\n"
        "Scanning takes [[hours = count / rate]] hours.",
        "shelves * boxes * letters / rate",
        shelves="4-9",
        boxes="6-14",
        letters="40-90:5",
        rate="70-150:10",
    ),
    _t(
        "aquarium",
        "A tank in an aquarium holds {full} litres. {who} drains {pct}% of it for cleaning and then lets fresh water "
        "in at "
        "{rate} litres a minute for {mins} minutes. How many litres are in the tank now?",
        "{who} drains [[out = full * pct / 100]] litres.\n"
        "After that [[left = full - out]] litres are in the tank.\n"
        "The fresh water amounts to [[fresh = rate * mins]] litres.\n"
        "Now the tank holds [[now = left + fresh]] litres.",
        "full * (100 - pct) / 100 + rate * mins",
        full="800-2400:100",
        pct="30-70:10",
        rate="13-24",
        mins="11-23",
    ),
    _t(
        "tea",
        "A tea merchant blends {black} kilograms of black tea costing ${pb} a kilogram with {green} kilograms of "
        "green tea "
        "costing ${pg} a kilogram. What does one kilogram of the blend cost in dollars?",
        "The black tea costs $[[a ~ black * pb]].\n"
        "The green tea costs $[[b = green * pg]].\n"
        "Together they cost $[[cost ~ a + b]].\n"
        "The blend weighs [[mass = black + green]] kilograms.\n"
        "One kilogram costs $[[price = cost / mass]].",
        "(black * pb + green * pg) / (black + green)",
        black="6-20",
        pb="8.25-15.75:0.75",
        green="5-17",
        pg="21-38",
    ),
    _t(
        "grafting",
        "{who} grafts {day} apple trees a day. After {days} days a frost kills {lost} of the young trees, and {he} "
        "sells "
        "two thirds of those that survive. How many young trees does {he} still own?",
        "{He} grafts [[made = day * days]] trees.\n"
        "Of these [[alive = made - lost]] survive.\n"
        "{He} sells [[sold = alive * 2 / 3]] trees.\n"
        "So {he} still owns [[left = alive - sold]] trees.",
        "(day * days - lost) / 3",
        day="13-26",
        days="6-14",
        lost="15-45",
    ),
    _t(
        "bells",
        "The bells of a tower ring {quarter} times at every quarter of an hour that is not a full hour, and {full} "
        "times at "
        "every full hour. How many strokes are heard in {hours} hours, each with one full hour and three quarters?",
        "The quarters of one hour bring [[q = 3 * quarter]] strokes.\n"
        "With the full hour there are [[hour = q + full]] strokes.\n"
        "In all [[all = hour * hours]] strokes are heard.",
        "(3 * quarter + full) * hours",
        quarter="4-9",
        full="11-19",
        hours="6-23",
    ),
    _t(
        "coral",
        "Divers plant {frames} frames of {bits} coral pieces each. In the first year {pct}% of the pieces are lost in "
        "a "
        "storm. Each of the others splits into {split} pieces. How many pieces are there then?",
        "The divers plant [[all = frames * bits]] pieces.\n"
        "The storm takes [[lost = all * pct / 100]] of them.\n"
        "That leaves [[left = all - lost]] pieces.\n"
        "After the splitting there are [[now = left * split]] pieces.",
        "frames * bits * (100 - pct) / 100 * split",
        frames="8-18",
        bits="15-40:5",
        pct="15-45:5",
        split="3-4",
    ),
    _t(
        "quilt",
        "A quilt is {wide} patches wide and {long} patches long. {who} has cut {cut} patches and cuts {rate} more "
        "every "
        "evening. How many evenings does {he} need until all patches are cut?",
        "The quilt has [[all = wide * long]] patches.\n"
        "There are [[todo = all - cut]] patches left to cut.\n"
        "That takes [[nights = todo / rate]] evenings.",
        "(wide * long - cut) / rate",
        wide="11-19",
        long="14-26",
        cut="35-90",
        rate="9-21",
    ),
    _t(
        "lift",
        "A ski lift has {chairs} chairs with room for {seats} people each, and every chair goes up {rounds} times an "
        "hour. "
        "In a busy hour {empty} seats stay empty. How many people does the lift carry in that hour?",
        "One round of all chairs has [[round = chairs * seats]] seats.\n"
        "In an hour that makes [[hour = round * rounds]] seats.\n"
        "Without the empty ones [[carried = hour - empty]] people are carried.",
        "chairs * seats * rounds - empty",
        chairs="35-80",
        seats="4-6",
        rounds="5-8",
        empty="23-95",
    ),
    _t(
        "truck",
        "A food truck sells {wraps} wraps at ${pw} and {soups} bowls of soup at ${ps} on Friday. On Saturday it takes "
        "in "
        "${more} more than on Friday. How many dollars does it take in on both days?",
        "The wraps earn $[[w = wraps * pw]].\n"
        "The soups earn $[[s = soups * ps]].\n"
        "Friday's total is $[[fri = w + s]].\n"
        "Saturday's total is $[[sat = fri + more]].\n"
        "Both days bring $[[both = fri + sat]].",
        "2 * (wraps * pw + soups * ps) + more",
        wraps="28-64",
        pw="8-11",
        soups="13-37",
        ps="5-7",
        more="45-150:5",
    ),
    _t(
        "parcels",
        "A courier has {all} parcels. In the morning {he} delivers {pct}% of them, in the afternoon a third of what is "
        "left. The others are shared evenly among {helpers} colleagues. How many parcels does each colleague get?",
        "In the morning [[am = all * pct / 100]] parcels are delivered.\n"
        "Then [[left = all - am]] parcels are left.\n"
        "In the afternoon [[pm = left / 3]] are delivered.\n"
        "That leaves [[rest = left - pm]] parcels.\n"
        "Each colleague gets [[each = rest / helpers]] parcels.",
        "all * (100 - pct) / 100 * 2 / 3 / helpers",
        all="120-360:20",
        pct="25-55:5",
        helpers="6-9",
    ),
    _t(
        "stamps",
        "{who} owns {old} old stamps and three times as many modern ones. {He} trades {swap} modern stamps for {got} "
        "old "
        "ones. How many more modern stamps than old stamps does {he} have after the trade?",
        "{He} starts with [[modern = 3 * old]] modern stamps.\n"
        "After the trade {he} has [[m = modern - swap]] modern stamps.\n"
        "{He} also has [[o = old + got]] old stamps.\n"
        "The difference is [[diff = m - o]] stamps.",
        "2 * old - swap - got",
        old="45-120",
        swap="14-33",
        got="5-11",
    ),
    _t(
        "bricks",
        "A wall needs {rows} rows of {per} bricks. One pallet holds {pallet} bricks and costs ${cost}. How much does "
        "the "
        "mason pay in dollars if no brick is left over?",
        "The wall needs [[need = rows * per]] bricks.\n"
        "That is [[pallets = need / pallet]] pallets.\n"
        "The mason pays $[[money = pallets * cost]].",
        "rows * per / pallet * cost",
        rows="18-36",
        per="25-60:5",
        pallet="50-150:10",
        cost="85-165:5",
    ),
    _t(
        "marathon",
        "In training for a race {who} runs {first} kilometres in the first week and adds {add} kilometres every week. "
        "How "
        "many kilometres does {he} run in the first four weeks together?",
        "In the second week {he} runs [[b = first + add]] kilometres.\n"
        "In the third week {he} runs [[c = b + add]] kilometres.\n"
        "In the fourth week {he} runs [[d = c + add]] kilometres.\n"
        "The first two weeks make [[ab = first + b]] kilometres.\n"
        "The last two make [[cd = c + d]] kilometres.\n"
        "Together that is [[all = ab + cd]] kilometres.",
        "4 * first + 6 * add",
        first="16-35",
        add="5-9",
    ),
    _t(
        "paint",
        "{who} paints a fence of {panels} panels. Each panel is {area} square metres and gets {coats} coats. One tin "
        "covers "
        "{cover} square metres. How many tins are emptied?",
        "The fence measures [[one = panels * area]] square metres.\n"
        "All coats together cover [[all = one * coats]] square metres.\n"
        "That empties [[tins = all / cover]] tins.",
        "panels * area * coats / cover",
        panels="14-36",
        area="3-6",
        coats="2-3",
        cover="13-32",
    ),
    _t(
        "theatre",
        "A puppet theatre sold {kids} tickets for children at ${pk} and {adults} tickets for adults at ${pa}. The hall "
        "costs ${hall} and each of the {players} players is paid an equal share of the rest. How many dollars does "
        "each "
        "player get?",
        "Children's tickets bring $[[k ~ kids * pk]].\n"
        "Adults' tickets bring $[[a = adults * pa]].\n"
        "All tickets bring $[[all ~ k + a]].\n"
        "Once the hall is paid, $[[rest ~ all - hall]] are left.\n"
        "Each player gets $[[share = rest / players]].",
        "(kids * pk + adults * pa - hall) / players",
        kids="35-80",
        pk="3.50-6.50:0.50",
        adults="18-45",
        pa="8-13",
        hall="90-180:10",
        players="5-8",
    ),
    _t(
        "well",
        "A pump lifts {rate} litres a minute out of a well. It runs {am} minutes in the morning and {pm} minutes in "
        "the "
        "evening, and the field takes {pct}% of the water. How many litres are left for the house?",
        "The pump runs [[mins = am + pm]] minutes.\n"
        "It lifts [[water = mins * rate]] litres.\n"
        "The field takes [[field = water * pct / 100]] litres.\n"
        "For the house [[house = water - field]] litres are left.",
        "(am + pm) * rate * (100 - pct) / 100",
        rate="15-35:5",
        am="18-45",
        pm="22-55",
        pct="55-85:5",
    ),
    _t(
        "letters",
        "{who} writes {cards} cards a day for the first {d1} days of December and {fewer} cards fewer a day for the "
        "next "
        "{d2} days. A card costs {cents} cents to send. How many cents does {he} spend on sending them?",
        "In the first days {he} writes [[a = cards * d1]] cards.\n"
        "Later {he} writes [[rate = cards - fewer]] cards a day.\n"
        "In those days {he} writes [[b = rate * d2]] cards.\n"
        "That is [[all = a + b]] cards.\n"
        "Sending them costs [[cost = all * cents]] cents.",
        "(cards * d1 + (cards - fewer) * d2) * cents",
        cards="13-22",
        d1="5-8",
        fewer="3-7",
        d2="9-11",
        cents="55-95:5",
    ),
    _t(
        "tower",
        "A water tower is filled by two pipes that bring {p1} and {p2} litres a minute, while the village uses {use} "
        "litres "
        "a minute. The tower lacks {lack} litres. After how many minutes is it full?",
        "The pipes bring [[in_ = p1 + p2]] litres a minute.\n"
        "The tower gains [[gain = in_ - use]] litres a minute.\n"
        "It is full after [[mins = lack / gain]] minutes.",
        "lack / (p1 + p2 - use)",
        p1="45-90",
        p2="35-80",
        use="25-60",
        lack="900-3600:60",
    ),
    _t(
        "age",
        "{who} is {years} years old. {His} grandmother is {times} times as old, and {his} mother is {less} years "
        "younger "
        "than the grandmother. How old are the three together in {later} years' time?",
        "The grandmother is [[g = years * times]] years old.\n"
        "The mother is [[m = g - less]] years old.\n"
        "The grandmother and the mother are [[gm = g + m]] together.\n"
        "All of them are [[now = gm + years]] together.\n"
        "The years to come add [[add = 3 * later]].\n"
        "Then they are [[then = now + add]] together.",
        "years * (2 * times + 1) - less + 3 * later",
        years="13-17",
        times="5-6",
        less="24-33",
        later="4-9",
    ),
    _t(
        "candles",
        "{who} pours {moulds} trays of candles with {per} candles in each tray. {gone} candles are given to the "
        "neighbours. "
        "How many candles stay with {him}?",
        "The trays make [[all = moulds * per]] candles.\nWith {him} stay [[left = all - gone]] candles.",
        "moulds * per - gone",
        moulds="6-14",
        per="8-18",
        gone="13-46",
    ),
    _t(
        "hedge",
        "A hedge is {first} centimetres tall and grows {grow} centimetres a year. How tall is it in centimetres after "
        "{years} "
        "years?",
        "In that time it grows by [[more = grow * years]] centimetres.\n"
        "Then it is [[tall = first + more]] centimetres tall.",
        "first + grow * years",
        first="45-110",
        grow="13-28",
        years="5-9",
    ),
)

EVAL = (
    _t(
        "lighthouse",
        "The stairs of a lighthouse have {flights} flights of {steps} steps. A keeper climbs them {climbs} times a "
        "day. "
        "How many steps does the keeper climb in {days} days?",
        "Once up is [[up = flights * steps]] steps.\n"
        "A day has [[day = up * climbs]] steps.\n"
        "In {days} days that makes [[all = day * days]] steps.",
        "flights * steps * climbs * days",
        flights="6-11",
        steps="13-23",
        climbs="3-5",
        days="6-15",
    ),
    _t(
        "printer",
        "A printing press prints {rate} posters a minute. After {mins} minutes it stops; {bad} posters are smeared "
        "and are "
        "thrown away. The good ones are rolled into tubes of {tube}. How many tubes are there?",
        "The press prints [[all = rate * mins]] posters.\n"
        "Of these [[good = all - bad]] are good.\n"
        "They fill [[tubes = good / tube]] tubes.",
        "(rate * mins - bad) / tube",
        rate="18-45",
        mins="13-28",
        bad="14-40",
        tube="6-18",
    ),
    _t(
        "cheese",
        "A cheese cave has {shelves} shelves with {wheels} wheels of cheese each. {pct}% of the wheels are ripe. A "
        "dairy shop "
        "takes {shop} ripe wheels and the rest of the ripe ones are cut into {parts} wedges each. How many wedges are "
        "there?",
        "The cave holds [[all = shelves * wheels]] wheels.\n"
        "Ripe are [[ripe = all * pct / 100]] wheels.\n"
        "After the shop has taken its share, [[cut = ripe - shop]] are cut.\n"
        "This gives [[wedges = cut * parts]] wedges.",
        "(shelves * wheels * pct / 100 - shop) * parts",
        shelves="8-18",
        wheels="15-35:5",
        pct="20-60:5",
        shop="11-29",
        parts="6-9",
    ),
    _t(
        "turbine",
        "A wind turbine makes {kwh} kilowatt hours on a calm day and {times} times as much on a windy day. Last month "
        "had "
        "{calm} calm days and {windy} windy days. How many kilowatt hours did it make?",
        "A windy day gives [[w = kwh * times]] kilowatt hours.\n"
        "The calm days gave [[a = kwh * calm]] kilowatt hours.\n"
        "The windy days gave [[b = w * windy]] kilowatt hours.\n"
        "The month gave [[all = a + b]] kilowatt hours.",
        "kwh * (calm + times * windy)",
        kwh="35-95:5",
        times="3-6",
        calm="11-17",
        windy="13-18",
    ),
    _t(
        "salt",
        "At a salt pan, {litres} litres of sea water leave {grams} grams of salt per litre. Workers bag the salt in "
        "bags of "
        "{bag} grams and load {carts} carts with equally many bags. How many bags are on one cart?",
        "The water leaves [[salt = litres * grams]] grams of salt.\n"
        "That fills [[bags = salt / bag]] bags.\n"
        "One cart carries [[cart = bags / carts]] bags.",
        "litres * grams / bag / carts",
        litres="900-3600:100",
        grams="26-36",
        bag="400-900:50",
        carts="3-9",
    ),
    _t(
        "hut",
        "Guests of a mountain hut drink {tea} pots of tea and {cocoa} pots of cocoa on a cold evening. Each pot fills "
        "{cups} "
        "cups, and the washer-up can wash {rate} cups a minute. How many minutes does the washing take?",
        "Together they drink [[pots = tea + cocoa]] pots.\n"
        "That is [[all = pots * cups]] cups.\n"
        "Washing them takes [[mins = all / rate]] minutes.",
        "(tea + cocoa) * cups / rate",
        tea="14-28",
        cocoa="11-25",
        cups="5-9",
        rate="6-13",
    ),
    _t(
        "drones",
        "A show uses {drones} drones. Each needs {minutes} minutes of charging, and {slots} of them can be charged at "
        "a time. "
        "How many hours pass until all are charged, if the next batch starts as soon as one is done?",
        "The drones make [[batches = drones / slots]] batches.\n"
        "Charging takes [[mins = batches * minutes]] minutes.\n"
        "That is [[hours = mins / 60]] hours.",
        "drones / slots * minutes / 60",
        drones="90-360:10",
        minutes="25-55:5",
        slots="15-45:5",
    ),
    _t(
        "lock",
        "Boats pass a canal lock. {up} boats go up at a toll of ${tu} each and {down} go down at ${td} each. The "
        "keeper is paid "
        "${wage} and the remainder is put into a repair fund that already holds ${fund}. How many dollars does the "
        "fund "
        "hold now?",
        "Boats going up pay $[[a = up * tu]].\n"
        "Boats going down pay $[[b = down * td]].\n"
        "The tolls make $[[tolls = a + b]].\n"
        "After the wage $[[rest = tolls - wage]] remain.\n"
        "The fund now holds $[[now = fund + rest]].",
        "up * tu + down * td - wage + fund",
        up="13-29",
        tu="7-13",
        down="11-26",
        td="5-9",
        wage="95-160:5",
        fund="410-890:10",
    ),
    _t(
        "glass",
        "A glass blower makes {vases} vases a day at {gv} grams of glass each and {bowls} bowls at {gb} grams each. "
        "How many "
        "grams of glass does the workshop melt in {days} days?",
        "The vases take [[a = vases * gv]] grams.\n"
        "The bowls take [[b = bowls * gb]] grams.\n"
        "A day takes [[day = a + b]] grams.\n"
        "In all [[all = day * days]] grams are melted.",
        "(vases * gv + bowls * gb) * days",
        vases="6-11",
        gv="350-650:50",
        bowls="8-15",
        gb="220-480:20",
        days="5-9",
    ),
    _t(
        "origami",
        "{who} folds {goal} paper cranes in three days. On Monday {he} folds {mon}, and on Tuesday {diff} fewer than "
        "on "
        "Monday. On Wednesday {he} works {hours} hours at a steady pace. How many cranes does {he} fold per hour on "
        "Wednesday?",
        "On Tuesday {he} folds [[tue = mon - diff]] cranes.\n"
        "By then there are [[two = mon + tue]] cranes.\n"
        "For Wednesday [[wed = goal - two]] remain.\n"
        "That is [[rate = wed / hours]] cranes an hour.",
        "(goal - 2 * mon + diff) / hours",
        goal="150-300:10",
        mon="45-75",
        diff="8-24",
        hours="4-9",
    ),
    _t(
        "weather",
        "A weather station notes the rainfall of a week: {wet} days with {mm} millimetres each and {damp} days with "
        "{small} "
        "millimetres each, the other days dry. The week before, it rained {before} millimetres. By how many "
        "millimetres was "
        "this week wetter?",
        "The wet days bring [[a = wet * mm]] millimetres.\n"
        "The damp days bring [[b = damp * small]] millimetres.\n"
        "The week has [[week = a + b]] millimetres.\n"
        "That is [[more = week - before]] millimetres more than the week before.",
        "wet * mm + damp * small - before",
        wet="2-3",
        mm="18-39",
        damp="2-3",
        small="6-11",
        before="21-49",
    ),
    _t(
        "skates",
        "An ice rink lends {pairs} pairs of skates. {broken} pairs are broken, and of the others {pct}% are in use. "
        "How many "
        "whole pairs are waiting on the shelf?",
        "Usable are [[ok = pairs - broken]] pairs.\n"
        "In use are [[used = ok * pct / 100]] pairs.\n"
        "On the shelf are [[shelf = ok - used]] pairs.",
        "(pairs - broken) * (100 - pct) / 100",
        pairs="110-240",
        broken="9-38",
        pct="55-85:5",
    ),
    _t(
        "soap",
        "{who} boils soap. A batch takes {oil} grams of oil and {lye} grams of lye and loses {dry} grams while it "
        "dries. "
        "It is cut into bars of {bar} grams, which are sold at ${price} each. How many dollars does one batch bring?",
        "The mixture weighs [[wet = oil + lye]] grams.\n"
        "Dry it weighs [[mass = wet - dry]] grams.\n"
        "This makes [[bars = mass / bar]] bars.\n"
        "They bring $[[money = bars * price]].",
        "(oil + lye - dry) / bar * price",
        oil="900-1800:50",
        lye="260-640:20",
        dry="110-350:10",
        bar="80-130:10",
        price="4.25-8.75:0.25",
    ),
    _t(
        "bus",
        "Three classes of {kids} pupils each and {adults} adults go to a museum by bus. A bus seats {seats} people "
        "and costs "
        "${cost}. All seats are taken. How many dollars do the buses cost?",
        "There are [[pupils = 3 * kids]] pupils.\n"
        "With the adults [[all = pupils + adults]] people travel.\n"
        "They fill [[buses = all / seats]] buses.\n"
        "The buses cost $[[money = buses * cost]].",
        "(3 * kids + adults) / seats * cost",
        kids="22-31",
        adults="6-18",
        seats="18-50",
        cost="142.50-290:2.50",
    ),
    _t(
        "garden",
        "A rectangular garden is {w} metres wide and twice as long as it is wide. A path takes up {path} square "
        "metres. On "
        "the rest, {per} seedlings are set on every square metre. How many seedlings are needed?",
        "The garden is [[long_ = 2 * w]] metres long.\n"
        "Its area is [[area = long_ * w]] square metres.\n"
        "Without the path [[free = area - path]] square metres are left.\n"
        "They take [[all = free * per]] seedlings.",
        "(2 * w * w - path) * per",
        w="8-15",
        path="17-39",
        per="5-9",
    ),
    _t(
        "library",
        "A village library lends {d} books on a weekday and {more} more than that on a Saturday; on Sundays it is "
        "closed. It "
        "is open {weeks} weeks, always with five weekdays. How many books does it lend?",
        "On a Saturday it lends [[sat = d + more]] books.\n"
        "On weekdays it lends [[wd = 5 * d]] books a week.\n"
        "A week comes to [[week = wd + sat]] books.\n"
        "In all it lends [[all = week * weeks]] books.",
        "(6 * d + more) * weeks",
        d="28-64",
        more="13-37",
        weeks="6-9",
    ),
    _t(
        "cable",
        "An electrician has a reel of {reel} metres of cable. {rooms} rooms take {room} metres each and the cellar "
        "takes a third "
        "of what is left on the reel. How many metres of cable remain?",
        "The rooms take [[a = rooms * room]] metres.\n"
        "On the reel are then [[left = reel - a]] metres.\n"
        "The cellar takes [[c = left / 3]] metres.\n"
        "So [[rest = left - c]] metres remain.",
        "(reel - rooms * room) * 2 / 3",
        reel="220-480:10",
        rooms="6-11",
        room="13-28",
    ),
    _t(
        "tournament",
        "At a chess tournament {players} players are split into groups of {size}. In each group everybody plays "
        "everybody "
        "else once, which makes {games} games a group, and a game lasts {mins} minutes on average. How many minutes of "
        "chess are played in total?",
        "There are [[groups = players / size]] groups.\n"
        "They play [[all = groups * games]] games.\n"
        "The games last [[time = all * mins]] minutes.",
        "players / size * games * mins",
        players="72-180:6",
        size="6-6",
        games="15-15",
        mins="28-55",
    ),
    _t(
        "pond",
        "A pond of {litres} litres loses {loss} litres a day in the heat. {who} pours in {cans} cans of {can} litres "
        "every "
        "day. How many litres are in the pond after {days} days?",
        "Each day {he} pours in [[inn = cans * can]] litres.\n"
        "The pond loses [[net = loss - inn]] litres a day on balance.\n"
        "In the whole time it loses [[all = net * days]] litres.\n"
        "Then it holds [[now = litres - all]] litres.",
        "litres - (loss - cans * can) * days",
        litres="1800-3600:100",
        loss="130-210:10",
        cans="5-9",
        can="8-12",
        days="6-15",
    ),
    _t(
        "comic",
        "{who} draws a comic of {pages} pages with {panels} panels on each page. {He} inks {ink} panels an hour and "
        "colours "
        "{colour} panels an hour, one after the other. How many hours do inking and colouring take together?",
        "The comic has [[all = pages * panels]] panels.\n"
        "Inking takes [[a ~ all / ink]] hours.\n"
        "Colouring takes [[b ~ all / colour]] hours.\n"
        "Together that is [[hours = a + b]] hours.",
        "pages * panels / ink + pages * panels / colour",
        pages="18-48",
        panels="5-9",
        ink="6-14",
        colour="8-15",
    ),
    _t(
        "market",
        "A stall has {kg} kilograms of plums. At ${p} a kilogram it sells {pct}% of them. Late in the day it sells "
        "the rest at "
        "half that price. How many dollars does it take in?",
        "At full price [[a = kg * pct / 100]] kilograms are sold.\n"
        "They bring $[[b ~ a * p]].\n"
        "Late in the day [[c = kg - a]] kilograms are left.\n"
        "Half the price is $[[h ~ p / 2]].\n"
        "The rest brings $[[d ~ c * h]].\n"
        "Together that is $[[all = b + d]].",
        "kg * p * pct / 100 + kg * p * (100 - pct) / 200",
        kg="60-180:10",
        p="6.50-14.50:1",
        pct="55-85:5",
    ),
    _t(
        "railway",
        "A model railway has a straight of {straight} centimetres and a loop three times as long. A train does "
        "{rounds} rounds "
        "of both in {secs} seconds. How many centimetres does it cover in one second?",
        "The loop is [[loop = 3 * straight]] centimetres long.\n"
        "One round is [[round_ = straight + loop]] centimetres.\n"
        "All rounds make [[all = round_ * rounds]] centimetres.\n"
        "In one second it covers [[speed = all / secs]] centimetres.",
        "4 * straight * rounds / secs",
        straight="65-180:5",
        rounds="6-14",
        secs="80-300:10",
    ),
    _t(
        "beads",
        "A necklace takes {red} red beads and {blue} blue beads. {who} has {stock} beads of each colour and makes "
        "{made} "
        "necklaces. How many beads are left over in total?",
        "The red beads used are [[r = red * made]].\n"
        "The blue beads used are [[b = blue * made]].\n"
        "Red beads left over are [[rl = stock - r]].\n"
        "Blue beads left over are [[bl = stock - b]].\n"
        "Left over in total are [[all = rl + bl]] beads.",
        "2 * stock - (red + blue) * made",
        red="13-19",
        blue="21-27",
        stock="300-420:10",
        made="6-11",
    ),
    _t(
        "crane",
        "A crane lifts {loads} loads an hour, each of {kg} kilograms, for {hours} hours. The material is moved on by "
        "lorries "
        "that carry {cap} kilograms each. How many full lorries leave?",
        "The crane lifts [[n = loads * hours]] loads.\n"
        "They weigh [[mass = n * kg]] kilograms.\n"
        "That fills [[trips = mass / cap]] lorries.",
        "loads * hours * kg / cap",
        loads="8-18",
        kg="450-950:50",
        hours="6-9",
        cap="2500-7500:500",
    ),
    _t(
        "camp",
        "A scout camp of {scouts} scouts and {guides} guides eats {slices} slices of bread per person for breakfast. "
        "A loaf has "
        "{loaf} slices and costs ${cost}. What does the bread for {days} breakfasts cost in dollars?",
        "In the camp are [[people = scouts + guides]] people.\n"
        "A breakfast takes [[b = people * slices]] slices.\n"
        "The breakfasts take [[all = b * days]] slices.\n"
        "That is [[loaves = all / loaf]] loaves.\n"
        "They cost $[[money = loaves * cost]].",
        "(scouts + guides) * slices * days / loaf * cost",
        scouts="32-68",
        guides="6-14",
        slices="3-4",
        loaf="18-25",
        days="5-9",
        cost="2.25-5.75:0.25",
    ),
    _t(
        "saving",
        "{who} earns ${wage} an hour at a bicycle shop and works {hours} hours a week. {He} spends ${spend} a week "
        "and saves "
        "the rest for a violin that costs ${price}. How many weeks does {he} have to work?",
        "In a week {he} earns $[[pay ~ wage * hours]].\n"
        "{He} saves $[[save ~ pay - spend]] of it.\n"
        "The violin takes [[weeks = price / save]] weeks.",
        "price / (wage * hours - spend)",
        wage="12.50-17.50:0.50",
        hours="8-15",
        spend="45-120:5",
        price="600-1800:20",
    ),
    _t(
        "ribbons",
        "A roll of ribbon is {m} metres long. {who} cuts off {n1} pieces of {c1} centimetres and {n2} pieces of {c2} "
        "centimetres. How many centimetres of ribbon remain?",
        "The roll has [[all = m * 100]] centimetres.\n"
        "The first pieces take [[a = n1 * c1]] centimetres.\n"
        "The other pieces take [[b = n2 * c2]] centimetres.\n"
        "Cut off are [[cut = a + b]] centimetres.\n"
        "So [[rest = all - cut]] centimetres remain.",
        "100 * m - n1 * c1 - n2 * c2",
        m="12.50-24.50:0.50",
        n1="6-9",
        c1="35-65:5",
        n2="11-15",
        c2="22-38",
    ),
    _t(
        "escape",
        "An escape room takes groups of {group} at ${price} per person. On a Saturday {groups} groups come, and "
        "{free} of all "
        "visitors have free tickets. Staff and rent cost ${cost} that day. What profit in dollars is made?",
        "There are [[people = group * groups]] visitors.\n"
        "Of them [[pay = people - free]] pay.\n"
        "They pay $[[income ~ pay * price]].\n"
        "The profit is $[[profit = income - cost]].",
        "(group * groups - free) * price - cost",
        group="5-6",
        price="17.50-27.50:0.50",
        groups="8-14",
        free="3-9",
        cost="280-640:20",
    ),
    _t(
        "puzzle",
        "{who} lays a puzzle of {pieces} pieces. The border has {border} pieces and is laid first. Of the others {he} "
        "lays "
        "{pct}% on the first day and then {rate} pieces a day. On how many further days does {he} lay pieces?",
        "Inside the border are [[inside = pieces - border]] pieces.\n"
        "On the first day {he} lays [[first = inside * pct / 100]] of these.\n"
        "Then [[left = inside - first]] pieces are left.\n"
        "They take [[days = left / rate]] days.",
        "(pieces - border) * (100 - pct) / 100 / rate",
        pieces="750-1500:50",
        border="110-150:2",
        pct="25-55:5",
        rate="35-75:5",
    ),
    _t(
        "cinema",
        "An open-air cinema has {rows} rows of {seats} chairs. {third} of the rows get {extra} extra chairs each. All "
        "but "
        "{empty} chairs are taken at ${price} a seat. How many dollars are paid?",
        "Without the extra chairs there are [[base = rows * seats]] chairs.\n"
        "The extra chairs number [[more = third * extra]].\n"
        "Altogether there are [[all = base + more]] chairs.\n"
        "Taken are [[taken = all - empty]] of them.\n"
        "The seats bring $[[money = taken * price]].",
        "(rows * seats + third * extra - empty) * price",
        rows="13-18",
        seats="14-22",
        third="4-7",
        extra="5-6",
        empty="19-48",
        price="7-9",
    ),
    _t(
        "bakery",
        "A bakery makes {trays} trays of {rolls} rolls. A school buys {pct}% of the rolls and a hotel buys {hotel}. "
        "The others "
        "are sold over the counter in bags of {bag}. How many bags are sold?",
        "There are [[all = trays * rolls]] rolls.\n"
        "The school buys [[school = all * pct / 100]] rolls.\n"
        "School and hotel buy [[two = school + hotel]] rolls.\n"
        "Over the counter go [[rest = all - two]] rolls.\n"
        "That is [[bags = rest / bag]] bags.",
        "(trays * rolls * (100 - pct) / 100 - hotel) / bag",
        trays="13-26",
        rolls="20-45:5",
        pct="30-55:5",
        hotel="35-90:5",
        bag="5-8",
    ),
    _t(
        "drill",
        "A drill deepens a bore hole by {up} centimetres every day, but every night {down} centimetres of sand slip "
        "back in. "
        "This morning the hole is {ledge} centimetres deep. How many days and nights pass until it is {wall} "
        "centimetres deep "
        "in the morning?",
        "The hole must become [[todo = wall - ledge]] centimetres deeper.\n"
        "A day and a night deepen it by [[net = up - down]] centimetres.\n"
        "That takes [[days = todo / net]] days and nights.",
        "(wall - ledge) / (up - down)",
        wall="290-560:10",
        up="28-47",
        down="6-14",
        ledge="15-60:5",
    ),
    _t(
        "books",
        "{who} has read {read} pages of a novel of {pages} pages. {He} reads {wd} pages on each of the five weekdays "
        "and "
        "{we} pages on each of the two days of the weekend. How many pages are unread after one more week?",
        "At first [[todo = pages - read]] pages are unread.\n"
        "On weekdays {he} reads [[a = 5 * wd]] pages.\n"
        "At the weekend {he} reads [[b = 2 * we]] pages.\n"
        "In the week {he} reads [[week = a + b]] pages.\n"
        "Unread are then [[left = todo - week]] pages.",
        "pages - read - 5 * wd - 2 * we",
        read="85-160",
        pages="480-720:10",
        wd="22-34",
        we="41-56",
    ),
    _t(
        "solar",
        "A roof carries {rows} rows of {cols} solar panels. Each panel gives {watts} watts at noon. {shade} panels "
        "lie in the "
        "shade and give nothing. A heater takes {heat} watts. How many watts are left over?",
        "The roof carries [[all = rows * cols]] panels.\n"
        "In the sun are [[sun = all - shade]] panels.\n"
        "They give [[power = sun * watts]] watts.\n"
        "Left over are [[rest = power - heat]] watts.",
        "(rows * cols - shade) * watts - heat",
        rows="4-7",
        cols="8-13",
        watts="250-390:10",
        shade="5-11",
        heat="1800-2900:100",
    ),
    _t(
        "carousel",
        "A carousel with {horses} horses and {coaches} coaches of {per} seats runs {rides} rides an afternoon. A ride "
        "costs "
        "{cents} cents a seat and every seat is sold each time. How many dollars does it take in?",
        "The coaches have [[c = coaches * per]] seats.\n"
        "With the horses there are [[all = c + horses]] seats.\n"
        "In the afternoon [[sold = all * rides]] seats are sold.\n"
        "They bring [[cents_ = sold * cents]] cents.\n"
        "That is $[[money = cents_ / 100]].",
        "(coaches * per + horses) * rides * cents / 100",
        horses="22-38",
        coaches="5-9",
        per="4-6",
        rides="13-28",
        cents="125-275:25",
    ),
    _t(
        "relay",
        "Four friends swim a relay over {total} metres. {who} swims {a} metres, the next swimmer {more} metres more "
        "than that, "
        "and the last two share the remaining distance equally. How many metres does the last one swim?",
        "The second swimmer covers [[b = a + more]] metres.\n"
        "The first two cover [[ab = a + b]] metres.\n"
        "That leaves [[rest = total - ab]] metres.\n"
        "Each of the last two swims [[each = rest / 2]] metres.",
        "(total - 2 * a - more) / 2",
        total="1200-2400:100",
        a="225-400:25",
        more="50-150:25",
    ),
    _t(
        "vet",
        "A vet sees {dogs} dogs a day and {more} more cats than dogs. A dog takes {dm} minutes and a cat {cm} "
        "minutes. How many "
        "hours does the vet spend with the animals in a day?",
        "The vet sees [[cats = dogs + more]] cats.\n"
        "The dogs take [[a = dogs * dm]] minutes.\n"
        "The cats take [[b = cats * cm]] minutes.\n"
        "Altogether that is [[mins = a + b]] minutes.\n"
        "This makes [[hours = mins / 60]] hours.",
        "(dogs * dm + (dogs + more) * cm) / 60",
        dogs="8-15",
        more="3-9",
        dm="13-22",
        cm="11-21",
    ),
    _t(
        "flood",
        "A river stands at {level} centimetres. It rises {rise} centimetres an hour for {h1} hours and then falls "
        "{fall} "
        "centimetres an hour for {h2} hours. How many centimetres below the dam's top of {top} centimetres is it then?",
        "It rises [[up = rise * h1]] centimetres.\n"
        "At its highest it stands at [[high = level + up]] centimetres.\n"
        "It falls [[down = fall * h2]] centimetres.\n"
        "Then it stands at [[now = high - down]] centimetres.\n"
        "That is [[gap = top - now]] centimetres below the top.",
        "top - level - rise * h1 + fall * h2",
        level="190-260:5",
        rise="13-18",
        h1="6-9",
        fall="8-11",
        h2="4-5",
        top="410-520:10",
    ),
    _t(
        "orchestra",
        "An orchestra has {v} violins. The violas are {fewer} fewer than the violins, and there are two thirds as many "
        "cellos as violas. Each player needs {sheets} sheets of music. How many sheets are printed for these players?",
        "There are [[va = v - fewer]] violas.\n"
        "There are [[ce = va * 2 / 3]] cellos.\n"
        "Violins and violas make [[two = v + va]] players.\n"
        "With the cellos there are [[all = two + ce]] players.\n"
        "They need [[paper = all * sheets]] sheets.",
        "(v + (v - fewer) * 5 / 3) * sheets",
        v="22-34",
        fewer="5-11",
        sheets="6-17",
    ),
    _t(
        "ants",
        "A colony of {ants} ants loses {pct}% of its ants in a hard winter. In spring {hatch} ants hatch every day "
        "for {days} "
        "days. By how many ants is the colony then larger than before the winter?",
        "The winter costs [[lost = ants * pct / 100]] ants.\n"
        "In spring [[new = hatch * days]] ants hatch.\n"
        "The colony has grown by [[gain = new - lost]] ants.",
        "hatch * days - ants * pct / 100",
        ants="1500-4500:100",
        pct="15-35:5",
        hatch="65-140:5",
        days="16-29",
    ),
    _t(
        "pool",
        "A swimming pool is {long_} metres long, {wide} metres wide and {deep} metres deep. It is filled to {pct}% of "
        "its "
        "height. A hose delivers {rate} cubic metres an hour. How many hours did the filling take?",
        "The floor measures [[floor = long_ * wide]] square metres.\n"
        "The whole pool holds [[vol = floor * deep]] cubic metres.\n"
        "Filled are [[water = vol * pct / 100]] cubic metres.\n"
        "That took [[hours = water / rate]] hours.",
        "long_ * wide * deep * pct / 100 / rate",
        long_="20-50:5",
        wide="8-18",
        deep="2-3",
        pct="60-90:10",
        rate="13-45",
    ),
    _t(
        "auction",
        "At a village auction {who} sells a clock for ${clock}, a chair for half as much as the clock, and {plates} "
        "plates at "
        "${plate} apiece. The auctioneer keeps {pct}% of everything. How many dollars does {who} get?",
        "The chair is sold for $[[chair ~ clock / 2]].\n"
        "The plates bring $[[pl ~ plates * plate]].\n"
        "Clock and chair bring $[[two ~ clock + chair]].\n"
        "Everything brings $[[all ~ two + pl]].\n"
        "The auctioneer keeps $[[fee ~ all * pct / 100]].\n"
        "{who} gets $[[net = all - fee]].",
        "(clock * 3 / 2 + plates * plate) * (100 - pct) / 100",
        clock="120-280:10",
        plates="7-15",
        plate="5.50-9.50:0.50",
        pct="15-25:5",
    ),
    _t(
        "seeds",
        "A packet holds {seeds} seeds and {pct}% of them sprout. {who} sows {packets} packets, then gives {gift} of "
        "the "
        "seedlings to a neighbour and plants the others in {beds} beds with equally many each. How many seedlings "
        "stand in "
        "one bed?",
        "There are [[all = seeds * packets]] seeds.\n"
        "Of these [[up = all * pct / 100]] sprout.\n"
        "After the gift [[left = up - gift]] seedlings are left.\n"
        "In one bed stand [[bed = left / beds]].",
        "(seeds * packets * pct / 100 - gift) / beds",
        seeds="40-90:5",
        pct="70-90:5",
        packets="6-11",
        gift="13-47",
        beds="6-9",
    ),
    _t(
        "tickets",
        "The drawer of a tram conductor holds {all_} tickets. {who} sells {strips} strips of {per} tickets from it. "
        "How many "
        "tickets are in the drawer afterwards?",
        "The strips take [[sold = strips * per]] tickets.\nIn the drawer are then [[left = all_ - sold]] tickets.",
        "all_ - strips * per",
        all_="350-700:10",
        strips="14-28",
        per="6-9",
    ),
    _t(
        "barrels",
        "Rain fills {full} barrels of {litres} litres each to the brim. {who} bottles the water in canisters of {can} "
        "litres. "
        "How many canisters does {he} fill?",
        "There are [[water = full * litres]] litres of water.\nThey fill [[cans = water / can]] canisters.",
        "full * litres / can",
        full="6-13",
        litres="80-210:10",
        can="15-35:5",
    ),
)
