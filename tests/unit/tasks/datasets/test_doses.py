"""Which texts count a medicine, in the spellings that models and physicians use, and which only look like it."""

from __future__ import annotations

import pytest

from tasks.datasets.doses import names_dose
from tasks.datasets.lines import lines_of, running_text

pytestmark = pytest.mark.core

WEIGHTS = """
400 mg
400mg
400 MG
1,000 mg
1 000 mg
1.000 mg
1'000 mg
0.5 g
.5 g
1,5 g
0·5 mg
1 g of paracetamol
1 G of paracetamol
1G
1gm
2 gms
500 mgs
500 mg's
500 mg’s
50 mcg
50 mcgs
50 µg
50 μg
50 ug
４００ ｍｇ
400 ㎎
٥٠٠ mg
400\u00a0mg
400\u202fmg
400\u200bmg
400\u2011mg
400-mg
500 milligrams
500 milligrammes
500 milli-grams
50 micrograms
one gram
a gram
five hundred milligrams
five-hundred-milligram
sixty mg
eighty milligrams
ninety mg
a hundred mg
a few mg
10-20 mg
10–20 mg
500—1000 mg
500mg-1g
10 to 20 mg
10 mg per kg
10mg/kg
500mg/5ml
500 mg/day
500 mg per day
20 mg/24 h
**500** mg
500** mg
*500 mg*
_500_ mg
500_mg
`500 mg`
2x200 mg
2x200mg
2 x 200 mg
2×200mg
2 × 500 mg
2*200 mg
1 x 500mg
two x 500 mg
(500 mg)
ibuprofen—400 mg
ibuprofen-400 mg
ibuprofen:400mg
~500 mg
≤500 mg
20 mEq of potassium
"""
FLUIDS = """
5 ml
5ml
5 mL
20 mls
5-10ml
5 millilitres
5 milliliters
10 cc
10 ccs
ten drops
10 drops
two eye drops
a drop in each eye
a drop into your left ear
four puffs
a puff
two sprays
one spray in each nostril
two inhalations
12 units
12 units of insulin
eleven units of insulin
10U
400 IU
1.2 million units
one teaspoon
a teaspoon of syrup
1 tsp
2 tsps
½ tsp
¾ teaspoon
1 tea spoon
1 tablespoonful
2 Tbsp.
two spoonfuls
two teaspoonsful
one capful
"""
FORMS = """
two tablets
a tablet
an extra tablet
2 tabs
1 tab
one pill
2 caps
two capsules
two gelcaps
3 gummies
one lozenge
two suppositories
one sachet
half a tablet
half tablet
half-tablet
a half tablet
a quarter of a tablet
½ tablet
1½ tablets
1 ½ tablets
1/2 tablet
one and a half tablets
one-and-a-half tablets
one or two tablets
three to four tablets
2-3 tablets
2–3 tablets
a tablet or two
a few tablets
several tablets
a couple of tablets
a dozen pills
two (2) tablets
2 (two) tablets
twenty-five tablets
two extra tablets
2 ibuprofen tablets
2 paracetamol 500 mg tablets
two strong painkiller tablets
half a sleeping tablet
4 glucose tablets
two vitamin D capsules
take an aspirin tablet
chew an aspirin
one tablet a week
100 mg of caffeine
2 tablets of your blood pressure medicine
two small white pills
x2 tablets
tablets x 2
tablets ×2
1 x tablet
two tablets of alcohol-free syrup
take 2 paracetamol
take two ibuprofen
one aspirin
two more paracetamol
half an aspirin
2 Advil
two extra-strength Tylenol
3 baby aspirin
650mg acetaminophen
1-2 tabs PO
81 mg
"""

NONE = """
two days
a few hours
within 24 hours
in 10 minutes
one or two questions
a couple of weeks
half a glass of water
half an hour
2 litres of water
two glasses of water
a drop of water
a few drops of water
200 ml of water
200 ml of warm water
500 ml water
5 ml of blood
a teaspoon of blood
two drops of blood in your urine
a unit of blood
two units of blood
2 units of alcohol
two units of alcohol
more than 14 units a week
14 units per week
a teaspoon of honey
a tablespoon of sugar
30 g of fibre
5 g of salt
20 grams of protein
a drop in mood
a drop in blood pressure
a drop of 10 points
a drop in temperature
your mood drops
a care unit
a unit that treats strokes
the intensive care unit
a spray
a nasal spray
a spoon
a pill box
a pill organiser
4G
a 5G phone
38.5 °C
a fever above 39 °C
a pulse above 120
blood pressure of 180/110
300 mg/dL
300 mg/dl
300 mg / dL
300 mg per decilitre
300 mg per litre
7 g/dL
5 µg/L
10 mmol/l
4 mEq/L
200 IU/L
no tablets
your tablets
the next tablet
any tablets
how many tablets
one of your tablets may cause it
vitamin B12 tablets
omega-3 capsules
COVID-19 tablets
type 2 diabetes
two kilograms
3 kg
10 mm
2 cm
5 km
2 cups
two mugs of tea
1 am
10 pm
5 times
911
112
one arm
both legs
a gradual onset
two patches of rash
a puffy eye
two painful joints
a second opinion
paracetamol
aspirin and ibuprofen
two medicines
after two days, tablets can be stopped
at 8, tablets in hand
the first tablet
an iron tablet
an aspirin allergy
a drop at the hem
call 112. Tablets do not help
a unit test
a pill-sized lump
10 pounds
1 in 10 people
7/10
an iron-rich diet
"""


def cases(*tables: str) -> list[str]:
    return [line for table in tables for line in table.strip().splitlines()]


def named(text: str) -> bool:
    return names_dose(running_text(lines_of(text)))


@pytest.mark.parametrize("text", cases(WEIGHTS, FLUIDS, FORMS))
@pytest.mark.parametrize("frame", ["{}", "Take {} now.", "- Take {}, then rest."])
def test_doses_are_seen_however_they_are_written(text: str, frame: str) -> None:
    assert named(frame.format(text))


@pytest.mark.parametrize("text", cases(NONE))
@pytest.mark.parametrize("frame", ["{}", "It is {} now.", "- Note {}, then rest."])
def test_other_counts_and_other_words_are_no_doses(text: str, frame: str) -> None:
    assert not named(frame.format(text))


@pytest.mark.parametrize(
    "text",
    [
        "Rest for 2\n- tablets do not help",
        "- a fever above 39\n- tablets that do not help",
        "1. a fever\n2. tablets that do not help",
        "- a fever above 39\n2) tablets",
    ],
)
def test_the_number_of_one_line_is_no_count_of_the_next_item(text: str) -> None:
    assert not named(text)


def test_a_line_that_is_broken_within_a_dose_still_names_it() -> None:
    assert named("Take two\ntablets now.")


@pytest.mark.parametrize(
    "word",
    ["2 ", "two ", "a ", "an antihistamine ", "vitamin D ", "of ", "2x", "2 x ", "1-", "(2) ", "1,", "painkiller "],
)
def test_an_answer_that_repeats_itself_is_read_in_no_time(word: str) -> None:
    assert not names_dose("2 " + word * 300 + "and then")
