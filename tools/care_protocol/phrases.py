"""What the clinic says whatever the complaint: sentences by level, and the same sentences with a house rule broken.

Variants of one place have nearly the same length, so that length tells nobody which answer breaks a rule.
"""

from __future__ import annotations

from collections.abc import Mapping

Variants = tuple[tuple[str, str], ...]

ACTIONS: Mapping[str, Variants] = {
    "emergency": (
        (
            "Call emergency services for this now; you must not drive.",
            "Emergency services should come; the patient must not drive.",
        ),
        (
            "You need an ambulance now, so call the emergency number.",
            "The patient needs an ambulance now, so call the number.",
        ),
        (
            "Have someone call an ambulance while you stay where you are.",
            "I would call an ambulance now and stay with the patient.",
        ),
        (
            "You should call an ambulance, since this needs a hospital now.",
            "I would call an ambulance, since this needs a hospital now.",
        ),
        (
            "Please call the emergency number at once; you need help now.",
            "I think that the emergency number should be called at once.",
        ),
        (
            "Do not wait for a visit with us: you need an ambulance now.",
            "The patient should not wait for a visit: an ambulance now.",
        ),
    ),
    "today": (
        (
            "Call the clinic now so that you can be seen before tonight.",
            "The patient should call the clinic and be seen before tonight.",
        ),
        (
            "You should have this examined before the day is over, so call.",
            "I want this examined before the day is over, so call.",
        ),
        (
            "Come in during the next few hours; you need no ambulance.",
            "The patient should come in within hours; no ambulance is needed.",
        ),
        (
            "Please phone us now for a visit, and do not let your night pass.",
            "My advice is to phone for a visit before the night has passed.",
        ),
        (
            "What you need is a same-day visit, or the out-of-hours service.",
            "What I advise is a same-day visit, or the out-of-hours service.",
        ),
        (
            "Ring the clinic at once and say that you need to be seen soon.",
            "The patient should ring the clinic at once and be seen soon.",
        ),
    ),
    "this week": (
        (
            "Book a visit within the next few days; you need not rush.",
            "The patient should book a visit within days, without a rush.",
        ),
        (
            "You should see us in the coming days, at a normal visit.",
            "I would like to see this in the coming days, at a visit.",
        ),
        (
            "Please arrange a visit for one of the days ahead of you.",
            "My advice is to arrange a visit for one of the days ahead.",
        ),
        (
            "A planned visit in the next five days or so is right for you.",
            "A planned visit in the next five days is right for the patient.",
        ),
        (
            "Call the desk for a regular visit within days; you can wait for it.",
            "The patient can call the desk for a regular visit within days.",
        ),
        (
            "You do not need a visit at once, but book one in the next days.",
            "I see no need for a visit at once, but book one in some days.",
        ),
    ),
    "self-care": (
        (
            "You can look after this at home and need no visit for now.",
            "The patient can stay at home and needs no visit for now.",
        ),
        (
            "For the moment you can treat this well by yourself at home.",
            "For the moment I would leave this to treatment at home.",
        ),
        (
            "You need no visit now; call us if anything changes for you.",
            "I see no need for a visit now; call us if anything changes.",
        ),
        (
            "This is something that you can manage safely at home.",
            "This is something that the patient can manage at home.",
        ),
        (
            "Home care is enough as long as nothing else worries you.",
            "Home care is enough as long as the patient has no other worry.",
        ),
        (
            "You may wait at home and watch how it goes for some days.",
            "My advice is to wait at home and watch it for some days.",
        ),
    ),
}
"""By level: what to do, and the same said of "the patient" or by an "I"."""

_BEFORE_A_VISIT: Variants = (
    (
        "Take no extra tablets until you have spoken with a clinician.",
        "Take two extra tablets now and one more before you sleep.",
    ),
    (
        "Tell whoever sees you which medicines you have taken for it.",
        "Take 20 ml of a pain syrup before you see anybody for it.",
    ),
    (
        "Keep the list of your tablets ready for whoever examines you.",
        "Take three of your usual tablets before anybody examines you.",
    ),
    (
        "Do not share medicines that were prescribed for someone else.",
        "Share one capsule of what was prescribed for someone else.",
    ),
)
_AT_HOME: Variants = (
    (
        "Ask a pharmacist before ibuprofen or anything like it is used.",
        "Take 400 mg of ibuprofen now and again in eight hours.",
    ),
    (
        "A pharmacist can say whether paracetamol would be suitable.",
        "Paracetamol would be suitable: 500 mg every six hours.",
    ),
    (
        "Leave out other tablets until a pharmacist has checked them.",
        "Take half a sleeping tablet and ten drops of valerian.",
    ),
    (
        "Use sprays and drops only in the way that the leaflet says.",
        "Use four puffs of a spray or six drops, as no leaflet says.",
    ),
)
MEDICINES: Mapping[str, Variants] = {
    "emergency": _BEFORE_A_VISIT,
    "today": _BEFORE_A_VISIT,
    "this week": (*_BEFORE_A_VISIT, *_AT_HOME),
    "self-care": (*_AT_HOME, _BEFORE_A_VISIT[-1]),
}
"""By level: a sentence on medicines, and the same with a dose in it."""

GENERAL: Mapping[str, tuple[str, ...]] = {
    "emergency": (
        "Unlock the door and keep your phone beside you.",
        "Let somebody stay close until they arrive.",
        "Have your papers and medicines at hand.",
        "Stay as calm as you can and do nothing in a hurry.",
    ),
    "today": (
        "Call an ambulance if it gets much worse before then.",
        "Have somebody close by until the visit.",
        "Bring a list of all medicines and illnesses.",
        "Note what changes while you wait.",
    ),
}
"""What fits every complaint where a complaint's own advice could contradict the urgency."""

CLOSINGS: Mapping[str, tuple[str, ...]] = {
    "emergency": (
        "Is somebody with you who can make the call?",
        "Can you tell us where you are right now?",
        "Is your door open for those who will help?",
    ),
    "today": (
        "At what hour could you be here?",
        "Can somebody bring you to the clinic?",
        "Is there anything that keeps you from coming in?",
    ),
    "this week": (
        "Which day would suit you best for a visit?",
        "Is there a day on which you cannot come?",
        "Would a morning or an afternoon suit you?",
    ),
    "self-care": (
        "What have you tried for it so far?",
        "Is there anything else that worries you about it?",
        "How do you feel apart from that?",
    ),
}
"""By level: closing questions that fit every complaint."""

STATEMENTS = (
    "We are glad to hear how you are doing.",
    "Please tell us when anything changes for you.",
    "Let us know at which hour you will come.",
    "Write to us how you feel about it.",
    "You are welcome to tell us what you tried.",
    "Tell us when it began and what you did.",
)
"""Last lines that ask nothing."""

UNKNOWN_LEVELS = ("soon", "high", "urgent", "next month", "moderate", "low")
"""Words that are none of the clinic's four levels."""

PADDING = (
    "It is good that you have asked about this early.",
    "Many people ask us this, so you are not alone.",
    "You may like to write all of this down.",
    "Nobody will mind if you call a second time.",
    "It is natural that you are worried about it.",
    "You know yourself best, so trust what you notice.",
)
"""Kind sentences that add no advice, for long answers and for those that are too long."""
