"""Kinds of problems of the MATH-500 sample, written for this project. `make_math_samples.py` calls them.

Each function draws one problem, solves it as its solution says, and has the answer confirmed by another route with
`agree`: counting, substituting, exact fractions, or sympy.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, its solution with the answer boxed, and the answer, in LaTeX."""

    problem: str
    solution: str
    answer: str
    subject: str
    level: int


PREALGEBRA, ALGEBRA, NUMBERS = "Prealgebra", "Algebra", "Number Theory"
COUNTING, GEOMETRY = "Counting & Probability", "Geometry"
INTERMEDIATE, PRECALCULUS = "Intermediate Algebra", "Precalculus"


def agree(answer: Any, other: Any) -> None:
    """Raises RuntimeError where two ways of computing an answer differ."""
    if sympy.simplify(sympy.sympify(answer) - sympy.sympify(other)) != 0:
        raise RuntimeError(f"two ways of computing an answer give {answer} and {other}")


def tex(value: Fraction | int) -> str:
    """A number in LaTeX."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    return rf"{'-' * (value < 0)}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def plus(value: int) -> str:
    """A whole number that is not 0 as a further summand."""
    return f"{'+' if value > 0 else '-'} {abs(value)}"


def root(square: int) -> str:
    """The square root of a positive whole number in LaTeX, simplified."""
    outer = max(k for k in range(1, math.isqrt(square) + 1) if square % (k * k) == 0)
    inner = square // (outer * outer)
    if inner == 1:
        return str(outer)
    return rf"{outer if outer > 1 else ''}\sqrt{{{inner}}}"


def nonzero(rng: random.Random, size: int) -> int:
    """A whole number from -size to size, but not 0 and not 1 or -1."""
    return rng.choice((-1, 1)) * rng.randint(2, size)


# ---------------------------------------------------------------- pool


def linear_equation(rng: random.Random) -> Problem:
    x, a, c, b = rng.randint(-9, 12), rng.randint(7, 12), rng.randint(2, 5), nonzero(rng, 15)
    d = (a - c) * x + b
    d += d == 0
    value = Fraction(d - b, a - c)
    agree(a * value + b, c * value + d)
    return Problem(
        rf"For which value of $x$ is ${a}x {plus(b)} = {c}x {plus(d)}$?",
        rf"Subtracting ${c}x$ from both sides leaves ${a - c}x {plus(b)} = {d}$. Moving the constant gives "
        rf"${a - c}x = {d - b}$, so $x = \boxed{{{tex(value)}}}$.",
        tex(value),
        ALGEBRA,
        1,
    )


def sum_of_squared_roots(rng: random.Random) -> Problem:
    r, s = rng.sample([k for k in range(-9, 10) if k], 2)
    while abs(r + s) < 2:
        r, s = rng.sample([k for k in range(-9, 10) if k], 2)
    p, q = r + s, r * s
    value = p * p - 2 * q
    agree(value, r * r + s * s)
    return Problem(
        rf"The equation $x^2 {plus(-p)}x {plus(q)} = 0$ has the roots $r$ and $s$. What is $r^2 + s^2$?",
        rf"By Vieta, $r + s = {p}$ and $rs = {q}$. Hence $r^2 + s^2 = (r + s)^2 - 2rs = {p * p} - 2 \cdot ({q}) = "
        rf"\boxed{{{value}}}$.",
        str(value),
        ALGEBRA,
        3,
    )


def number_of_divisors(rng: random.Random) -> Problem:
    a, b, c = rng.randint(2, 5), rng.randint(1, 3), rng.randint(1, 2)
    p = rng.choice((5, 7, 11))
    n = 2**a * 3**b * p**c
    value = (a + 1) * (b + 1) * (c + 1)
    agree(value, sum(1 for k in range(1, n + 1) if n % k == 0))
    return Problem(
        rf"Find the number of positive divisors of ${n}$.",
        rf"We factor ${n} = 2^{a} \cdot 3^{b} \cdot {p}^{c}$. A divisor uses 2 up to {a} times, 3 up to {b} times and "
        rf"{p} "
        rf"up to {c} times, which leaves ${a + 1} \cdot {b + 1} \cdot {c + 1} = \boxed{{{value}}}$ choices.",
        str(value),
        NUMBERS,
        2,
    )


def least_common_multiple(rng: random.Random) -> Problem:
    g = rng.randint(6, 18)
    m, n = rng.choice([(m, n) for m in range(3, 10) for n in range(m + 1, 12) if math.gcd(m, n) == 1])
    a, b = g * m, g * n
    value = a * b // math.gcd(a, b)
    agree(value, next(k for k in itertools.count(b, b) if k % a == 0))
    return Problem(
        rf"Two buoys flash together at midnight. One flashes every ${a}$ seconds, the other every ${b}$ seconds. After "
        rf"how many seconds do they next flash together?",
        rf"They flash together after the least common multiple of ${a}$ and ${b}$. Their greatest common divisor is "
        rf"${math.gcd(a, b)}$, so it is $\frac{{{a} \cdot {b}}}{{{math.gcd(a, b)}}} = \boxed{{{value}}}$ seconds.",
        str(value),
        NUMBERS,
        2,
    )


def power_remainder(rng: random.Random) -> Problem:
    m = rng.choice((7, 11, 13, 17, 19))
    a, e = rng.randint(2, m - 2), rng.randint(45, 120)
    cycle = next(k for k in range(1, m) if pow(a, k, m) == 1)
    rest = e % cycle
    value = a**rest % m
    agree(value, pow(a, e, m))
    return Problem(
        rf"What is the remainder when ${a}^{{{e}}}$ is divided by ${m}$?",
        rf"Computing powers modulo ${m}$ we find that ${a}^{{{cycle}}}$ leaves remainder 1 and no smaller positive "
        rf"exponent "
        rf"does. Since ${e} = {cycle} \cdot {e // cycle} + {rest}$, the remainder is that of ${a}^{{{rest}}}$, which "
        rf"is "
        rf"$\boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        3,
    )


def committee(rng: random.Random) -> Problem:
    n, m = rng.randint(5, 9), rng.randint(4, 8)
    a, b = rng.randint(2, 3), rng.randint(1, 2)
    value = math.comb(n, a) * math.comb(m, b)
    people = [("w", k) for k in range(n)] + [("h", k) for k in range(m)]
    agree(value, sum(sum(kind == "w" for kind, _ in c) == a for c in itertools.combinations(people, a + b)))
    return Problem(
        rf"A crew of ${a}$ welders and ${b}$ riggers is to be formed from ${n}$ welders and ${m}$ riggers. In how "
        rf"many ways "
        rf"can this be done?",
        rf"The welders can be picked in $\binom{{{n}}}{{{a}}} = {math.comb(n, a)}$ ways and the riggers in "
        rf"$\binom{{{m}}}{{{b}}} = {math.comb(m, b)}$ ways, which makes ${math.comb(n, a)} \cdot {math.comb(m, b)} = "
        rf"\boxed{{{value}}}$ crews.",
        str(value),
        COUNTING,
        2,
    )


def two_dice(rng: random.Random) -> Problem:
    m, n = rng.choice([(4, 6), (4, 8), (6, 8), (6, 10), (8, 10), (6, 12), (8, 12)])
    total = rng.randint(4, m + n - 2)
    ways = min(m, total - 1) - max(1, total - n) + 1
    value = Fraction(ways, m * n)
    agree(ways, sum(i + j == total for i in range(1, m + 1) for j in range(1, n + 1)))
    return Problem(
        rf"A die with faces $1$ to ${m}$ and a die with faces $1$ to ${n}$ are rolled. What is the probability that "
        rf"the sum "
        rf"of the two numbers is ${total}$? Give a common fraction.",
        rf"The first die must show between ${max(1, total - n)}$ and ${min(m, total - 1)}$, and then the second is "
        rf"determined. "
        rf"That is ${ways}$ of ${m} \cdot {n} = {m * n}$ equally likely outcomes: $\boxed{{{tex(value)}}}$.",
        tex(value),
        COUNTING,
        3,
    )


def rectangle_diagonal(rng: random.Random) -> Problem:
    a, b, c = rng.choice(((3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29)))
    k = rng.randint(2, 6)
    a, b, c = a * k, b * k, c * k
    value = 2 * (a + b)
    agree(a * a + b * b, c * c)
    return Problem(
        rf"A rectangle has a diagonal of length ${c}$ and one side of length ${a}$. What is its perimeter?",
        rf"By the theorem of Pythagoras the other side is $\sqrt{{{c}^2 - {a}^2}} = \sqrt{{{c * c - a * a}}} = {b}$. "
        rf"The "
        rf"perimeter is $2 \cdot ({a} + {b}) = \boxed{{{value}}}$.",
        str(value),
        GEOMETRY,
        2,
    )


def triangle_area(rng: random.Random) -> Problem:
    (x, y), (u, v), (s, t) = ((rng.randint(-7, 7), rng.randint(-7, 7)) for _ in range(3))
    twice = (u - x) * (t - y) - (s - x) * (v - y)
    while twice == 0 or len({(x, y), (u, v), (s, t)}) < 3:
        (s, t) = (rng.randint(-7, 7), rng.randint(-7, 7))
        twice = (u - x) * (t - y) - (s - x) * (v - y)
    value = Fraction(abs(twice), 2)
    agree(value, abs(sympy.Polygon((x, y), (u, v), (s, t)).area))
    return Problem(
        rf"What is the area of the triangle with corners $({x}, {y})$, $({u}, {v})$ and $({s}, {t})$?",
        rf"Two sides leave $({x}, {y})$ along $({u - x}, {v - y})$ and $({s - x}, {t - y})$. The area is half of "
        rf"$|({u - x})({t - y}) - ({s - x})({v - y})| = {abs(twice)}$, that is $\boxed{{{tex(value)}}}$.",
        tex(value),
        GEOMETRY,
        3,
    )


def sector(rng: random.Random) -> Problem:
    r, angle = rng.choice(
        [(r, a) for r in range(4, 19) for a in (40, 45, 60, 72, 90, 120, 150) if r * r * a % 360 == 0]
    )
    value = r * r * angle // 360
    agree(sympy.Rational(angle, 360) * sympy.pi * r**2, value * sympy.pi)
    return Problem(
        rf"A sector of a circle of radius ${r}$ has a central angle of ${angle}^\circ$. Find its area in terms of "
        rf"$\pi$.",
        rf"The whole circle has area ${r * r}\pi$. The sector is $\frac{{{angle}}}{{360}}$ of it, so its area is "
        rf"$\boxed{{{value}\pi}}$.",
        rf"{value}\pi",
        GEOMETRY,
        2,
    )


def arithmetic_sum(rng: random.Random) -> Problem:
    a, d, n = rng.randint(3, 25), rng.randint(3, 9), rng.randint(12, 40)
    last = a + (n - 1) * d
    value = n * (a + last) // 2
    agree(value, sum(range(a, last + 1, d)))
    return Problem(
        rf"The first term of an arithmetic sequence is ${a}$ and its common difference is ${d}$. What is the sum of "
        rf"its first "
        rf"${n}$ terms?",
        rf"Term number ${n}$ is ${a} + {n - 1} \cdot {d} = {last}$. The average of the first and last term is "
        rf"$\frac{{{a} + {last}}}{{2}}$, so the sum is ${n} \cdot \frac{{{a + last}}}{{2}} = \boxed{{{value}}}$.",
        str(value),
        ALGEBRA,
        2,
    )


def geometric_series(rng: random.Random) -> Problem:
    a, r = rng.randint(3, 20), Fraction(*rng.choice(((1, 3), (2, 3), (1, 4), (3, 4), (2, 5), (3, 5), (-1, 2), (-2, 3))))
    value = a / (1 - r)
    agree(value, a + r * value)
    return Problem(
        rf"A geometric series starts with ${a}$ and has common ratio ${tex(r)}$. To which number does it converge?",
        rf"Let $S$ be the sum. Then $S = {a} + \left({tex(r)}\right)S$, hence ${tex(1 - r)}\,S = {a}$ and "
        rf"$S = \boxed{{{tex(value)}}}$.",
        tex(value),
        INTERMEDIATE,
        3,
    )


def polynomial_remainder(rng: random.Random) -> Problem:
    b, c, d, k = nonzero(rng, 6), nonzero(rng, 9), nonzero(rng, 9), nonzero(rng, 4)
    value = k**3 + b * k**2 + c * k + d
    x = sympy.Symbol("x")
    agree(value, sympy.rem(x**3 + b * x**2 + c * x + d, x - k, x))
    return Problem(
        rf"Determine the remainder of $x^3 {plus(b)}x^2 {plus(c)}x {plus(d)}$ on division by $x {plus(-k)}$.",
        rf"By the remainder theorem it is the value at $x = {k}$: $({k**3}) + ({b * k * k}) + ({c * k}) + ({d}) = "
        rf"\boxed{{{value}}}$.",
        str(value),
        INTERMEDIATE,
        3,
    )


def linear_system(rng: random.Random) -> Problem:
    x, y = nonzero(rng, 8), nonzero(rng, 8)
    a, b, c, d = rng.randint(2, 5), rng.randint(2, 5), rng.randint(2, 5), -rng.randint(2, 5)
    p, q = a * x + b * y, c * x + d * y
    det = a * d - b * c
    agree(Fraction(p * d - b * q, det), x)
    agree(Fraction(a * q - p * c, det), y)
    return Problem(
        rf"Find the pair $(x, y)$ that satisfies ${a}x + {b}y = {p}$ and ${c}x - {-d}y = {q}$.",
        rf"Multiply the first equation by ${-d}$ and the second by ${b}$ and add them: ${-d * a + b * c}x = "
        rf"{-d * p + b * q}$, so "
        rf"$x = {x}$. Then ${b}y = {p} - ({a * x}) = {b * y}$ and $y = {y}$. The pair is $\boxed{{({x}, {y})}}$.",
        f"({x}, {y})",
        ALGEBRA,
        2,
    )


def logarithm(rng: random.Random) -> Problem:
    base, power, m, c = rng.choice((2, 3, 4, 5)), rng.randint(2, 4), rng.randint(2, 7), nonzero(rng, 12)
    value = Fraction(base**power - c, m)
    agree(sympy.log(m * sympy.Rational(value.numerator, value.denominator) + c, base), power)
    return Problem(
        rf"Solve $\log_{{{base}}}({m}x {plus(c)}) = {power}$ for $x$.",
        rf"The equation says ${m}x {plus(c)} = {base}^{power} = {base**power}$. Hence ${m}x = {base**power - c}$ and "
        rf"$x = \boxed{{{tex(value)}}}$.",
        tex(value),
        ALGEBRA,
        3,
    )


def complex_product(rng: random.Random) -> Problem:
    a, b, c, d = (nonzero(rng, 8) for _ in range(4))
    re, im = a * c - b * d, a * d + b * c
    while re == 0 or abs(im) < 2:
        a, b, c, d = (nonzero(rng, 8) for _ in range(4))
        re, im = a * c - b * d, a * d + b * c
    agree(sympy.expand((a + b * sympy.I) * (c + d * sympy.I)), re + im * sympy.I)
    return Problem(
        rf"Write $({a} {plus(b)}i)({c} {plus(d)}i)$ in the form $u + vi$ with real $u$ and $v$.",
        rf"The real part is $({a})({c}) - ({b})({d}) = {re}$ and the imaginary part is $({a})({d}) + ({b})({c}) = "
        rf"{im}$. The "
        rf"product is $\boxed{{{re} {plus(im)}i}}$.",
        f"{re} {plus(im)}i",
        PRECALCULUS,
        2,
    )


def determinant_unknown(rng: random.Random) -> Problem:
    a, b, c, det = rng.randint(2, 9), nonzero(rng, 9), nonzero(rng, 9), nonzero(rng, 30)
    value = Fraction(det + b * c, a)
    agree(sympy.Matrix([[a, b], [c, sympy.Rational(value.numerator, value.denominator)]]).det(), det)
    return Problem(
        rf"For which $k$ does $\begin{{pmatrix}} {a} & {b} \\ {c} & k \end{{pmatrix}}$ have determinant ${det}$?",
        rf"The determinant is ${a}k - ({b})({c}) = {a}k {plus(-b * c)}$. Setting it equal to ${det}$ gives "
        rf"${a}k = {det + b * c}$, so $k = \boxed{{{tex(value)}}}$.",
        tex(value),
        PRECALCULUS,
        3,
    )


def orthogonal_vectors(rng: random.Random) -> Problem:
    a, b, c, d, e = (nonzero(rng, 9) for _ in range(5))
    value = Fraction(-(a * d + b * e), c)
    agree(a * d + b * e + c * value, 0)
    return Problem(
        rf"The vectors $({a}, {b}, {c})$ and $({d}, {e}, t)$ are perpendicular. Find $t$.",
        rf"Their dot product is $({a})({d}) + ({b})({e}) + ({c})t = {a * d + b * e} + ({c})t$. It is zero exactly when "
        rf"$t = \boxed{{{tex(value)}}}$.",
        tex(value),
        PRECALCULUS,
        3,
    )


def sum_of_fractions(rng: random.Random) -> Problem:
    b, d = rng.sample((4, 6, 8, 9, 10, 12, 14, 15), 2)
    a = rng.choice([k for k in range(1, b) if math.gcd(k, b) == 1])
    c = rng.choice([k for k in range(1, d) if math.gcd(k, d) == 1])
    common = math.lcm(b, d)
    value = Fraction(a, b) + Fraction(c, d)
    agree(value, Fraction(a * d + b * c, b * d))
    return Problem(
        rf"Compute $\frac{{{a}}}{{{b}}} + \frac{{{c}}}{{{d}}}$ and reduce the result to lowest terms.",
        rf"With the common denominator ${common}$ the sum is $\frac{{{a * common // b}}}{{{common}}} + "
        rf"\frac{{{c * common // d}}}{{{common}}} = \frac{{{a * common // b + c * common // d}}}{{{common}}}$, which "
        rf"in lowest "
        rf"terms is $\boxed{{{tex(value)}}}$.",
        tex(value),
        PREALGEBRA,
        2,
    )


def missing_score(rng: random.Random) -> Problem:
    scores = [rng.randint(61, 98) for _ in range(4)]
    mean = rng.randint(72, 88)
    value = 5 * mean - sum(scores)
    agree(Fraction(sum([*scores, value]), 5), mean)
    listed = ", ".join(f"${score}$" for score in scores)
    return Problem(
        rf"In an archery league Ines shot the results {listed} in her first four rounds. Which result in the fifth "
        rf"round "
        rf"makes her average ${mean}$?",
        rf"Five rounds with average ${mean}$ add up to $5 \cdot {mean} = {5 * mean}$. The first four add up to "
        rf"${sum(scores)}$. "
        rf"The fifth must be ${5 * mean} - {sum(scores)} = \boxed{{{value}}}$.",
        str(value),
        PREALGEBRA,
        1,
    )


def from_base(rng: random.Random) -> Problem:
    base = rng.randint(5, 9)
    digits = [rng.randint(1, base - 1), *(rng.randint(0, base - 1) for _ in range(2))]
    value = digits[0] * base**2 + digits[1] * base + digits[2]
    agree(value, int("".join(map(str, digits)), base))
    return Problem(
        rf"Write the number ${''.join(map(str, digits))}_{{{base}}}$, given in base ${base}$, in base ten.",
        rf"Its value is ${digits[0]} \cdot {base}^2 + {digits[1]} \cdot {base} + {digits[2]} = {digits[0] * base**2} + "
        rf"{digits[1] * base} + {digits[2]} = \boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        2,
    )


def binomial_coefficient(rng: random.Random) -> Problem:
    n, a, b = rng.randint(4, 6), rng.randint(2, 3), nonzero(rng, 3)
    k = rng.randint(2, n - 1)
    value = math.comb(n, k) * a**k * b ** (n - k)
    x = sympy.Symbol("x")
    agree(value, sympy.expand((a * x + b) ** n).coeff(x, k))
    return Problem(
        rf"What is the coefficient of $x^{k}$ in the expansion of $({a}x {plus(b)})^{n}$?",
        rf"The binomial theorem gives the term $\binom{{{n}}}{{{k}}} ({a}x)^{k} ({b})^{{{n - k}}}$. Its coefficient is "
        rf"${math.comb(n, k)} \cdot {a**k} \cdot ({b ** (n - k)}) = \boxed{{{value}}}$.",
        str(value),
        COUNTING,
        4,
    )


POOL: tuple[Callable[[random.Random], Problem], ...] = (
    linear_equation,
    sum_of_squared_roots,
    number_of_divisors,
    least_common_multiple,
    power_remainder,
    committee,
    two_dice,
    rectangle_diagonal,
    triangle_area,
    sector,
    arithmetic_sum,
    geometric_series,
    polynomial_remainder,
    linear_system,
    logarithm,
    complex_product,
    determinant_unknown,
    orthogonal_vectors,
    sum_of_fractions,
    missing_score,
    from_base,
    binomial_coefficient,
)


# ---------------------------------------------------------------- evaluation


def order_of_operations(rng: random.Random) -> Problem:
    a, b, c, d, e = rng.randint(20, 60), rng.randint(3, 9), rng.randint(3, 9), rng.randint(2, 5), rng.randint(2, 4)
    value = a - b * c + d**e
    agree(value, sympy.sympify(f"{a} - {b}*{c} + {d}**{e}"))
    return Problem(
        rf"Evaluate ${a} - {b} \times {c} + {d}^{e}$.",
        rf"Powers and products come first: ${d}^{e} = {d**e}$ and ${b} \times {c} = {b * c}$. So the value is "
        rf"${a} - {b * c} + {d**e} = \boxed{{{value}}}$.",
        str(value),
        PREALGEBRA,
        1,
    )


def ratio_share(rng: random.Random) -> Problem:
    a, b, c = rng.sample(range(2, 10), 3)
    part = rng.randint(6, 24)
    total, value = part * (a + b + c), part * max(a, b, c)
    agree(Fraction(value, total), Fraction(max(a, b, c), a + b + c))
    return Problem(
        rf"Oats, nuts and raisins are mixed in the ratio ${a} : {b} : {c}$ by weight to make ${total}$ grams of "
        rf"muesli. How many "
        rf"grams does the heaviest ingredient weigh?",
        rf"The mixture has ${a} + {b} + {c} = {a + b + c}$ parts of ${total} \div {a + b + c} = {part}$ grams. The "
        rf"heaviest "
        rf"ingredient has ${max(a, b, c)}$ parts, that is ${max(a, b, c)} \cdot {part} = \boxed{{{value}}}$ grams.",
        str(value),
        PREALGEBRA,
        2,
    )


def speed_conversion(rng: random.Random) -> Problem:
    speed = rng.choice([k for k in range(20, 150) if k % 18 and k % 2 == 0])
    value = Fraction(speed * 1000, 3600)
    agree(value * 18, speed * 5)
    return Problem(
        rf"A cable car moves at ${speed}$ kilometres per hour. Express its speed in metres per second as a common "
        rf"fraction.",
        rf"In $3600$ seconds it moves ${speed * 1000}$ metres, so in one second $\frac{{{speed * 1000}}}{{3600}} = "
        rf"\boxed{{{tex(value)}}}$ metres.",
        tex(value),
        PREALGEBRA,
        2,
    )


def quotient_of_fractions(rng: random.Random) -> Problem:
    a, b = rng.choice([(a, b) for a in range(2, 12) for b in range(3, 13) if math.gcd(a, b) == 1])
    c, d = rng.choice([(c, d) for c in range(2, 12) for d in range(3, 13) if math.gcd(c, d) == 1 and (c, d) != (a, b)])
    value = Fraction(a, b) / Fraction(c, d)
    agree(value * Fraction(c, d), Fraction(a, b))
    return Problem(
        rf"Simplify $\frac{{{a}}}{{{b}}} \div \frac{{{c}}}{{{d}}}$.",
        rf"Dividing by a fraction is multiplying by its reciprocal: $\frac{{{a}}}{{{b}}} \cdot \frac{{{d}}}{{{c}}} = "
        rf"\frac{{{a * d}}}{{{b * c}}} = \boxed{{{tex(value)}}}$.",
        tex(value),
        PREALGEBRA,
        1,
    )


def parabola_vertex(rng: random.Random) -> Problem:
    a, h, k = rng.choice((-3, -2, 2, 3)), nonzero(rng, 6), nonzero(rng, 12)
    b, c = -2 * a * h, a * h * h + k
    curve = f"{a}x^2 {plus(b)}x {plus(c) if c else ''}".rstrip()
    x = sympy.Symbol("x")
    agree(sympy.solve(sympy.diff(a * x**2 + b * x + c, x), x)[0], h)
    agree((a * x**2 + b * x + c).subs(x, h), k)
    return Problem(
        rf"Find the vertex of the parabola $y = {curve}$.",
        rf"The axis is at $x = -\frac{{{b}}}{{2 \cdot ({a})}} = {h}$. There $y = {a * h * h} {plus(b * h)} "
        rf"{plus(c) if c else '+ 0'} = "
        rf"{k}$, so the vertex is $\boxed{{({h}, {k})}}$.",
        f"({h}, {k})",
        ALGEBRA,
        3,
    )


def point_distance(rng: random.Random) -> Problem:
    x, y, dx, dy = rng.randint(-9, 9), rng.randint(-9, 9), rng.randint(2, 12), nonzero(rng, 12)
    square = dx * dx + dy * dy
    answer = root(square)
    agree(sympy.Point(x, y).distance(sympy.Point(x + dx, y + dy)), sympy.sqrt(square))
    return Problem(
        rf"How far apart are the points $({x}, {y})$ and $({x + dx}, {y + dy})$? Simplify any radical.",
        rf"The coordinates differ by ${dx}$ and ${abs(dy)}$, so the distance is $\sqrt{{{dx * dx} + {dy * dy}}} = "
        rf"\sqrt{{{square}}} = \boxed{{{answer}}}$.",
        answer,
        ALGEBRA,
        3,
    )


def line_intercept(rng: random.Random) -> Problem:
    x, y, dx, dy = rng.randint(2, 9), rng.randint(-9, 9), rng.randint(2, 7), nonzero(rng, 9)
    slope = Fraction(dy, dx)
    value = y - slope * x
    agree(value + slope * (x + dx), y + dy)
    return Problem(
        rf"The line through $({x}, {y})$ and $({x + dx}, {y + dy})$ meets the $y$-axis at $(0, b)$. What is $b$?",
        rf"The slope is $\frac{{{dy}}}{{{dx}}}$. Going back from $x = {x}$ to $0$ changes $y$ by "
        rf"$-{x} \cdot \left({tex(slope)}\right) = {tex(-slope * x)}$, so $b = {y} + \left({tex(-slope * x)}\right) = "
        rf"\boxed{{{tex(value)}}}$.",
        tex(value),
        ALGEBRA,
        2,
    )


def composition(rng: random.Random) -> Problem:
    a, b, c, d, t = rng.randint(2, 6), nonzero(rng, 9), rng.randint(2, 4), nonzero(rng, 7), nonzero(rng, 5)
    inner = c * t + d
    value = a * inner**2 + b
    x = sympy.Symbol("x")
    agree(value, (a * x**2 + b).subs(x, c * x + d).subs(x, t))
    return Problem(
        rf"Let $f(x) = {a}x^2 {plus(b)}$ and $g(x) = {c}x {plus(d)}$. What is $f(g({t}))$?",
        rf"First $g({t}) = {c * t} {plus(d)} = {inner}$. Then $f({inner}) = {a} \cdot {inner**2} {plus(b)} = "
        rf"\boxed{{{value}}}$.",
        str(value),
        ALGEBRA,
        2,
    )


def inverse_value(rng: random.Random) -> Problem:
    a, b, d, y = rng.randint(2, 7), nonzero(rng, 9), nonzero(rng, 9), rng.randint(9, 15)
    while a * d == b:
        b = nonzero(rng, 9)
    value = Fraction(y * d - b, a - y)
    agree((a * value + b) / (value + d), y)
    return Problem(
        rf"The function $h(x) = \frac{{{a}x {plus(b)}}}{{x {plus(d)}}}$ has an inverse. Find $h^{{-1}}({y})$.",
        rf"We solve ${a}x {plus(b)} = {y}(x {plus(d)})$. This gives ${a - y}x = {y * d - b}$, so "
        rf"$x = \boxed{{{tex(value)}}}$.",
        tex(value),
        ALGEBRA,
        4,
    )


def double_root(rng: random.Random) -> Problem:
    a, c = rng.sample(range(2, 13), 2)
    value = 2 * a * c
    agree(value**2, 4 * a * a * c * c)
    return Problem(
        rf"For which positive $m$ does ${a * a}x^2 + mx + {c * c} = 0$ have exactly one real solution?",
        rf"The discriminant $m^2 - 4 \cdot {a * a} \cdot {c * c}$ must vanish, so $m^2 = {value**2}$ and, $m$ being "
        rf"positive, "
        rf"$m = \boxed{{{value}}}$.",
        str(value),
        ALGEBRA,
        4,
    )


def squares_apart(rng: random.Random) -> Problem:
    a = rng.randint(140, 990)
    d = rng.randint(3, 25)
    value = 2 * a * d + d * d
    agree(value, (a + d) ** 2 - a**2)
    return Problem(
        rf"Compute ${a + d}^2 - {a}^2$ without a calculator.",
        rf"As a difference of squares it is $({a + d} - {a})({a + d} + {a}) = {d} \cdot {2 * a + d} = "
        rf"\boxed{{{value}}}$.",
        str(value),
        ALGEBRA,
        2,
    )


def exponential_equation(rng: random.Random) -> Problem:
    base = rng.choice((2, 3, 5))
    p, q, m, n = rng.randint(2, 4), rng.randint(2, 3), rng.randint(2, 7), nonzero(rng, 5)
    while abs(p - q * m) < 2:
        m = rng.randint(2, 7)
    value = Fraction(q * n, p - q * m)
    agree(p * value, q * (m * value + n))
    return Problem(
        rf"Solve ${base**p}^x = {base**q}^{{{m}x {plus(n)}}}$ for $x$.",
        rf"As powers of ${base}$ the sides are ${base}^{{{p}x}}$ and ${base}^{{{q}({m}x {plus(n)})}}$. Equal "
        rf"exponents give "
        rf"${p}x = {q * m}x {plus(q * n)}$, so ${p - q * m}x = {q * n}$ and $x = \boxed{{{tex(value)}}}$.",
        tex(value),
        ALGEBRA,
        3,
    )


def trailing_zeros(rng: random.Random) -> Problem:
    n = rng.randint(60, 240)
    parts = [n // 5**k for k in range(1, 4) if n // 5**k]
    value = sum(parts)
    text = str(math.factorial(n))
    agree(value, len(text) - len(text.rstrip("0")))
    return Problem(
        rf"In how many zeros does the decimal form of ${n}!$ end?",
        rf"Zeros come from factors $5$, as there are more factors $2$. Counting the multiples of $5$, $25$ and so on "
        rf"up to ${n}$ "
        rf"gives ${' + '.join(map(str, parts))} = \boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        4,
    )


def units_digit(rng: random.Random) -> Problem:
    a, b = rng.sample((2, 3, 7, 8, 12, 13, 17, 18), 2)
    m, n = rng.randint(21, 60), rng.randint(21, 60)
    value = (pow(a, m % 4 + 4, 10) + pow(b, n % 4 + 4, 10)) % 10
    agree(value, (a**m + b**n) % 10)
    return Problem(
        rf"What is the last digit of ${a}^{{{m}}} + {b}^{{{n}}}$?",
        rf"Last digits of powers repeat with period $4$. ${a}^{{{m}}}$ ends in ${pow(a, m, 10)}$ and ${b}^{{{n}}}$ "
        rf"ends in "
        rf"${pow(b, n, 10)}$, so the sum ends in $\boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        3,
    )


def modular_inverse(rng: random.Random) -> Problem:
    m = rng.choice((17, 19, 23, 26, 29, 31, 35, 41))
    a = rng.choice([k for k in range(3, m - 1) if math.gcd(k, m) == 1])
    value = pow(a, -1, m)
    agree(a * value % m, 1)
    return Problem(
        rf"Find the integer $n$ with $0 \le n < {m}$ such that ${a}n$ leaves remainder $1$ on division by ${m}$.",
        rf"We look for ${a}n = {m}q + 1$. Trying $q = 0, 1, 2, \dots$ the right side is first a multiple of ${a}$ for "
        rf"$q = {a * value // m}$, where it is ${a * value} = {a} \cdot {value}$. So $n = \boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        4,
    )


def multiples_without(rng: random.Random) -> Problem:
    top = rng.randint(200, 900)
    a, b = rng.choice([(4, 7), (3, 5), (6, 11), (5, 8), (7, 9), (4, 9), (3, 8)])
    value = top // a - top // (a * b)
    agree(value, sum(k % a == 0 and k % b != 0 for k in range(1, top + 1)))
    return Problem(
        rf"How many of the integers from $1$ to ${top}$ are multiples of ${a}$ but not of ${b}$?",
        rf"There are ${top // a}$ multiples of ${a}$. Those that are also multiples of ${b}$ are the multiples of "
        rf"${a * b}$, of "
        rf"which there are ${top // (a * b)}$. That leaves ${top // a} - {top // (a * b)} = \boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        3,
    )


def two_remainders(rng: random.Random) -> Problem:
    m, n = rng.choice([(5, 7), (6, 11), (7, 9), (8, 11), (7, 10), (9, 13), (8, 15)])
    r, s = rng.randint(1, m - 1), rng.randint(1, n - 1)
    value = next(k for k in range(s, m * n, n) if k % m == r)
    agree(value, sympy.ntheory.modular.crt([m, n], [r, s])[0])
    listed = ", ".join(str(k) for k in range(s, value + 1, n))
    return Problem(
        rf"A heap of fewer than ${m * n}$ pebbles leaves ${r}$ over when counted off by ${m}$ and ${s}$ over when "
        rf"counted off by "
        rf"${n}$. How many pebbles are in it?",
        rf"Numbers that leave ${s}$ on division by ${n}$ are ${listed}, \dots$ The first of them that leaves ${r}$ on "
        rf"division "
        rf"by ${m}$ is $\boxed{{{value}}}$, and the next one is ${m * n}$ larger.",
        str(value),
        NUMBERS,
        4,
    )


def divisor_sum(rng: random.Random) -> Problem:
    a, b, p = rng.randint(2, 4), rng.randint(1, 2), rng.choice((3, 5, 7))
    n = 2**a * p**b
    left, right = 2 ** (a + 1) - 1, sum(p**k for k in range(b + 1))
    value = left * right
    agree(value, sum(k for k in range(1, n + 1) if n % k == 0))
    return Problem(
        rf"What do all positive divisors of ${n}$ add up to?",
        rf"Since ${n} = 2^{a} \cdot {p}^{b}$, the sum is $(1 + 2 + \dots + {2**a})(1 + \dots + {p**b}) = {left} \cdot "
        rf"{right} = "
        rf"\boxed{{{value}}}$.",
        str(value),
        NUMBERS,
        3,
    )


def word_arrangements(rng: random.Random) -> Problem:
    word = rng.choice(("BALLOON", "TERRACE", "PEPPER", "BANDANA", "COCOON", "SADDLES", "LETTERS", "PUPPET"))
    counts = [word.count(letter) for letter in sorted(set(word)) if word.count(letter) > 1]
    value = math.factorial(len(word))
    for count in counts:
        value //= math.factorial(count)
    agree(value, len(set(itertools.permutations(word))))
    under = r" \cdot ".join(f"{count}!" for count in counts)
    return Problem(
        rf"How many different strings can be made by rearranging all letters of the word {word}?",
        rf"The ${len(word)}$ letters can be ordered in ${len(word)}!$ ways, and orders that differ only by swapping "
        rf"equal letters "
        rf"give the same string. So there are $\frac{{{len(word)}!}}{{{under}}} = \boxed{{{value}}}$ strings.",
        str(value),
        COUNTING,
        3,
    )


def same_colour(rng: random.Random) -> Problem:
    a, b, c = rng.randint(3, 8), rng.randint(3, 8), rng.randint(2, 5)
    n = a + b + c
    good = math.comb(a, 2) + math.comb(b, 2) + math.comb(c, 2)
    value = Fraction(good, math.comb(n, 2))
    balls = "a" * a + "b" * b + "c" * c
    agree(good, sum(x == y for x, y in itertools.combinations(balls, 2)))
    return Problem(
        rf"A drawer holds ${a}$ grey, ${b}$ green and ${c}$ white socks. Two socks are taken out blindly. What is the "
        rf"probability "
        rf"that they have the same colour? Answer with a reduced fraction.",
        rf"There are $\binom{{{n}}}{{2}} = {math.comb(n, 2)}$ pairs, of which ${math.comb(a, 2)} + {math.comb(b, 2)} + "
        rf"{math.comb(c, 2)} = {good}$ are of one colour. The probability is $\boxed{{{tex(value)}}}$.",
        tex(value),
        COUNTING,
        3,
    )


def grid_paths(rng: random.Random) -> Problem:
    x, y, dx, dy = (rng.randint(2, 4) for _ in range(4))
    first, second = math.comb(x + y, x), math.comb(dx + dy, dx)
    value = first * second

    def walks(across: int, up: int) -> int:
        return 1 if across == 0 or up == 0 else walks(across - 1, up) + walks(across, up - 1)

    agree(value, walks(x, y) * walks(dx, dy))
    return Problem(
        rf"A robot walks along grid lines from $(0, 0)$ to $({x + dx}, {y + dy})$ in unit steps to the right or "
        rf"upwards. How many "
        rf"of its routes pass through $({x}, {y})$?",
        rf"To $({x}, {y})$ there are $\binom{{{x + y}}}{{{x}}} = {first}$ routes, and from there on "
        rf"$\binom{{{dx + dy}}}{{{dx}}} = {second}$. Together that makes ${first} \cdot {second} = \boxed{{{value}}}$.",
        str(value),
        COUNTING,
        3,
    )


def neighbours_in_row(rng: random.Random) -> Problem:
    n = rng.choice((5, 6, 7, 8))
    who = rng.choice(("judges", "drummers", "gardeners", "pilots", "tailors", "divers"))
    value = math.factorial(n) - 2 * math.factorial(n - 1)
    agree(value, sum(abs(p.index(0) - p.index(1)) > 1 for p in itertools.permutations(range(n))))
    return Problem(
        rf"In how many ways can ${n}$ {who} stand in a row if two of them, who have quarrelled, refuse to stand side "
        rf"by side?",
        rf"Without the quarrel there are ${n}! = {math.factorial(n)}$ orders. The two stand side by side in "
        rf"$2 \cdot {n - 1}! = {2 * math.factorial(n - 1)}$ of them. The other $\boxed{{{value}}}$ are allowed.",
        str(value),
        COUNTING,
        4,
    )


def spinner(rng: random.Random) -> Problem:
    prizes = rng.sample(range(2, 20), 3)
    angles = rng.choice(((180, 120, 60), (90, 120, 150), (200, 100, 60), (144, 144, 72), (40, 140, 180)))
    value = sum(Fraction(angle, 360) * prize for angle, prize in zip(angles, prizes, strict=True))
    agree(value * 360, sum(angle * prize for angle, prize in zip(angles, prizes, strict=True)))
    parts = " + ".join(rf"{tex(Fraction(a, 360))} \cdot {p}" for a, p in zip(angles, prizes, strict=True))
    return Problem(
        rf"A wheel of fortune has sectors of ${angles[0]}^\circ$, ${angles[1]}^\circ$ and ${angles[2]}^\circ$, which "
        rf"pay "
        rf"${prizes[0]}$, ${prizes[1]}$ and ${prizes[2]}$ tokens. How many tokens does one spin pay on average?",
        rf"Weighting each prize with its share of the full angle gives ${parts} = \boxed{{{tex(value)}}}$.",
        tex(value),
        COUNTING,
        3,
    )


def trapezoid(rng: random.Random) -> Problem:
    a, b, h = rng.randint(5, 15), rng.randint(16, 30), rng.randint(4, 15)
    value = Fraction((a + b) * h, 2)
    agree(value, a * h + Fraction((b - a) * h, 2))
    return Problem(
        rf"A trapezoid has parallel sides of lengths ${a}$ and ${b}$, which are ${h}$ apart. Calculate its area.",
        rf"The mean of the parallel sides is $\frac{{{a} + {b}}}{{2}} = {tex(Fraction(a + b, 2))}$. Multiplying it by "
        rf"the height "
        rf"${h}$ gives $\boxed{{{tex(value)}}}$.",
        tex(value),
        GEOMETRY,
        1,
    )


def similar_triangles(rng: random.Random) -> Problem:
    pole, shadow, tree = rng.randint(2, 7), rng.randint(3, 11), rng.randint(13, 40)
    value = Fraction(pole * tree, shadow)
    agree(value / tree, Fraction(pole, shadow))
    return Problem(
        rf"A post ${pole}$ metres tall throws a shadow of ${shadow}$ metres. At the same moment the shadow of a mast "
        rf"is ${tree}$ "
        rf"metres long. How tall is the mast in metres?",
        rf"The sun's rays make similar triangles, so height and shadow are in the ratio ${pole} : {shadow}$ for both. "
        rf"The mast is "
        rf"${tree} \cdot \frac{{{pole}}}{{{shadow}}} = \boxed{{{tex(value)}}}$ metres tall.",
        tex(value),
        GEOMETRY,
        2,
    )


def interior_angle(rng: random.Random) -> Problem:
    n = rng.choice((5, 8, 9, 10, 12, 15, 18, 20, 24, 30, 36, 40))
    value = Fraction((n - 2) * 180, n)
    agree(value, 180 - Fraction(360, n))
    return Problem(
        rf"How many degrees does each interior angle of a regular polygon with ${n}$ sides measure?",
        rf"Each exterior angle measures $\frac{{360}}{{{n}}} = {tex(Fraction(360, n))}$ degrees. An interior angle "
        rf"measures "
        rf"$180 - {tex(Fraction(360, n))} = \boxed{{{tex(value)}}}$ degrees.",
        tex(value),
        GEOMETRY,
        2,
    )


def cone_in_cylinder(rng: random.Random) -> Problem:
    r, h = rng.randint(3, 12), 3 * rng.randint(2, 9)
    value = 2 * r * r * h // 3
    agree(sympy.pi * r**2 * h - sympy.pi * r**2 * h / 3, value * sympy.pi)
    return Problem(
        rf"From a cylinder of radius ${r}$ and height ${h}$ a cone with the same base and height is drilled out. What "
        rf"volume "
        rf"remains, in terms of $\pi$?",
        rf"The cylinder has volume ${r * r * h}\pi$ and the cone a third of that, ${r * r * h // 3}\pi$. What remains "
        rf"is "
        rf"$\boxed{{{value}\pi}}$.",
        rf"{value}\pi",
        GEOMETRY,
        3,
    )


def altitude(rng: random.Random) -> Problem:
    a, b, c = rng.choice(((3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29), (9, 40, 41)))
    k = rng.randint(1, 5)
    a, b, c = a * k, b * k, c * k
    value = Fraction(a * b, c)
    agree(sympy.Line((a, 0), (0, b)).distance(sympy.Point(0, 0)), value)
    return Problem(
        rf"The legs of a right triangle measure ${a}$ and ${b}$. How long is the altitude onto the hypotenuse?",
        rf"The hypotenuse is $\sqrt{{{a * a} + {b * b}}} = {c}$. Writing the area in two ways, ${a} \cdot {b} = {c} "
        rf"\cdot h$, so "
        rf"$h = \boxed{{{tex(value)}}}$.",
        tex(value),
        GEOMETRY,
        3,
    )


def reciprocal_roots(rng: random.Random) -> Problem:
    b, c, d = nonzero(rng, 9), nonzero(rng, 12), nonzero(rng, 12)
    value = Fraction(-c, d)
    x = sympy.Symbol("x")
    reverse = sympy.Poly(d * x**3 + c * x**2 + b * x + 1, x).all_coeffs()  # its roots are the reciprocals
    agree(value, -reverse[1] / reverse[0])
    return Problem(
        rf"Let $p$, $q$ and $r$ be the roots of $x^3 {plus(b)}x^2 {plus(c)}x {plus(d)}$. Find "
        rf"$\frac{{1}}{{p}} + \frac{{1}}{{q}} + \frac{{1}}{{r}}$.",
        rf"The sum is $\frac{{pq + qr + rp}}{{pqr}}$. By Vieta's formulas $pq + qr + rp = {c}$ and $pqr = {-d}$, so "
        rf"it equals "
        rf"$\boxed{{{tex(value)}}}$.",
        tex(value),
        INTERMEDIATE,
        4,
    )


def telescoping(rng: random.Random) -> Problem:
    a, n = rng.randint(2, 9), rng.randint(15, 60)
    value = Fraction(1, a) - Fraction(1, n + 1)
    agree(value, sum(Fraction(1, k * (k + 1)) for k in range(a, n + 1)))
    return Problem(
        rf"Compute $\sum_{{k={a}}}^{{{n}}} \frac{{1}}{{k(k+1)}}$.",
        rf"Each term is $\frac{{1}}{{k}} - \frac{{1}}{{k+1}}$, so all but the ends cancel: $\frac{{1}}{{{a}}} - "
        rf"\frac{{1}}{{{n + 1}}} = \boxed{{{tex(value)}}}$.",
        tex(value),
        INTERMEDIATE,
        4,
    )


def absolute_value(rng: random.Random) -> Problem:
    a, b, c = rng.randint(2, 6), nonzero(rng, 9), rng.randint(11, 25)
    high, low = Fraction(c - b, a), Fraction(-c - b, a)
    value = high * low
    agree(abs(a * high + b), c)
    agree(abs(a * low + b), c)
    return Problem(
        rf"What is the product of all solutions of $|{a}x {plus(b)}| = {c}$?",
        rf"Either ${a}x {plus(b)} = {c}$, so $x = {tex(high)}$, or ${a}x {plus(b)} = -{c}$, so $x = {tex(low)}$. "
        rf"Their product is "
        rf"$\boxed{{{tex(value)}}}$.",
        tex(value),
        INTERMEDIATE,
        3,
    )


def imaginary_roots(rng: random.Random) -> Problem:
    u, v = nonzero(rng, 9), rng.randint(2, 9)
    value = u * u + v * v
    z = sympy.Symbol("z")
    agree(sympy.prod(sympy.roots(z**2 - 2 * u * z + value, z)), value)
    return Problem(
        rf"A quadratic with real coefficients and leading coefficient $1$ has the root ${u} {plus(v)}i$. What is its "
        rf"constant "
        rf"term?",
        rf"The other root is the conjugate ${u} {plus(-v)}i$. The constant term is the product of the roots, "
        rf"$({u})^2 + {v}^2 = {u * u} + {v * v} = \boxed{{{value}}}$.",
        str(value),
        INTERMEDIATE,
        3,
    )


def cosine_to_sine(rng: random.Random) -> Problem:
    a, b, c = rng.choice(((3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29), (9, 40, 41), (12, 35, 37)))
    a, b = rng.choice(((a, b), (b, a)))
    value = Fraction(2 * a * b, c * c)
    angle = sympy.acos(sympy.Rational(a, c))
    agree(sympy.expand_trig(sympy.sin(2 * angle)), sympy.Rational(value.numerator, value.denominator))
    return Problem(
        rf"The acute angle $\theta$ has $\cos \theta = \frac{{{a}}}{{{c}}}$. Find $\sin 2\theta$.",
        rf"As $\theta$ is acute, $\sin \theta = \sqrt{{1 - \frac{{{a * a}}}{{{c * c}}}}} = \frac{{{b}}}{{{c}}}$. Hence "
        rf"$\sin 2\theta = 2 \cdot \frac{{{b}}}{{{c}}} \cdot \frac{{{a}}}{{{c}}} = \boxed{{{tex(value)}}}$.",
        tex(value),
        PRECALCULUS,
        3,
    )


def cross_product(rng: random.Random) -> Problem:
    u, v = [nonzero(rng, 5) for _ in range(3)], [nonzero(rng, 5) for _ in range(3)]
    w = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    for own, other in zip(w, sympy.Matrix(u).cross(sympy.Matrix(v)), strict=True):
        agree(own, other)
    text = ", ".join(map(str, w))
    return Problem(
        rf"Calculate the cross product of $({', '.join(map(str, u))})$ and $({', '.join(map(str, v))})$, in this "
        rf"order.",
        rf"Its components are $({u[1]})({v[2]}) - ({u[2]})({v[1]}) = {w[0]}$, $({u[2]})({v[0]}) - ({u[0]})({v[2]}) = "
        rf"{w[1]}$ and "
        rf"$({u[0]})({v[1]}) - ({u[1]})({v[0]}) = {w[2]}$, so it is $\boxed{{({text})}}$.",
        f"({text})",
        PRECALCULUS,
        4,
    )


def three_by_three(rng: random.Random) -> Problem:
    a, b, c, d, e, f = (nonzero(rng, 6) for _ in range(6))
    value = a * (c * f - d * e)
    agree(value, sympy.Matrix([[a, b, b], [0, c, d], [0, e, f]]).det())
    return Problem(
        rf"Find the determinant of $\begin{{pmatrix}} {a} & {b} & {b} \\ 0 & {c} & {d} \\ 0 & {e} & {f} "
        rf"\end{{pmatrix}}$.",
        rf"Expanding along the first column leaves ${a} \cdot [({c})({f}) - ({d})({e})] = {a} \cdot ({c * f - d * e}) "
        rf"= "
        rf"\boxed{{{value}}}$.",
        str(value),
        PRECALCULUS,
        3,
    )


def from_polar(rng: random.Random) -> Problem:
    r = 2 * rng.randint(2, 15)
    h = r // 2
    x, y = sympy.Integer(h), h * sympy.sqrt(3)
    agree(r * sympy.cos(sympy.pi / 3), x)
    agree(r * sympy.sin(sympy.pi / 3), y)
    answer = rf"({h}, {h}\sqrt{{3}})"
    return Problem(
        rf"A point has polar coordinates $\left({r}, \frac{{\pi}}{{3}}\right)$. Give its rectangular coordinates $(x, "
        rf"y)$.",
        rf"Here $x = {r}\cos\frac{{\pi}}{{3}} = {h}$ and $y = {r}\sin\frac{{\pi}}{{3}} = {h}\sqrt{{3}}$. The point is "
        rf"$\boxed{{{answer}}}$.",
        answer,
        PRECALCULUS,
        2,
    )


EVAL: tuple[Callable[[random.Random], Problem], ...] = (
    order_of_operations,
    ratio_share,
    speed_conversion,
    quotient_of_fractions,
    parabola_vertex,
    point_distance,
    line_intercept,
    composition,
    inverse_value,
    double_root,
    squares_apart,
    exponential_equation,
    trailing_zeros,
    units_digit,
    modular_inverse,
    multiples_without,
    two_remainders,
    divisor_sum,
    word_arrangements,
    same_colour,
    grid_paths,
    neighbours_in_row,
    spinner,
    trapezoid,
    similar_triangles,
    interior_angle,
    cone_in_cylinder,
    altitude,
    reciprocal_roots,
    telescoping,
    absolute_value,
    imaginary_roots,
    cosine_to_sine,
    cross_product,
    three_by_three,
    from_polar,
)
