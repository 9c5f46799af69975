"use strict";
// Names, prompts and pictures come from files: they enter the page as text and as sources of images only.

const survey = JSON.parse(document.getElementById("survey").textContent);
const total = survey.questions.length;
const KEYS = { ArrowLeft: "first", ArrowRight: "second", 1: "first", 2: "second" };
const STACKED_KEYS = { ArrowUp: "first", ArrowDown: "second" };
const LARGEST = 0xffffffff;

let state; // {participant, begun, answers: one of {chosen, seconds, layout} or null for each place of the order}
let order; // of this participant: [{question, first}], first the arm that is shown first, "a" or "b"
let place = 0;
let ready = false; // both pictures are on the screen
let shownAt = 0;

const $ = id => document.getElementById(id);

// ---- the participant's order ----

function given() {
  // The participant's number after the address, or null.
  const number = /^#(\d{1,10})$/.exec(location.hash);
  return number && Number(number[1]) <= LARGEST ? Number(number[1]) : null;
}

function drawn() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

function generator(seed, participant) {
  // Marsaglia's xorshift32 (13, 17, 5) on a mixture of both numbers: uniform integers below n.
  let x = (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(participant + 1, 0x85ebca6b)) >>> 0 || 1;
  const step = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x = (x ^ (x << 5)) >>> 0;
    return x;
  };
  for (let k = 0; k < 16; k++) step(); // neighbouring numbers begin alike
  return n => Math.floor((step() / (LARGEST + 1)) * n);
}

function shuffled(seed, participant) {
  const below = generator(seed, participant);
  const places = survey.questions.map((_, question) => ({ question, first: below(2) ? "b" : "a" }));
  for (let k = total - 1; k > 0; k--) {
    const other = below(k + 1);
    [places[k], places[other]] = [places[other], places[k]];
  }
  return places;
}

// ---- what the browser keeps ----

function storageKey() {
  return `panorama-survey-${survey.survey}-${survey.seed}-${given() ?? "any"}`;
}

function keep() {
  try {
    localStorage.setItem(storageKey(), JSON.stringify(state));
    return true;
  } catch {
    return false;
  }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(storageKey()));
    return isState(found) ? found : null;
  } catch {
    return null;
  }
}

function isState(found) {
  const whole = number => Number.isInteger(number) && number >= 0 && number <= LARGEST;
  const answer = a => a === null || ((a.chosen === "a" || a.chosen === "b") && Number.isFinite(a.seconds));
  return found !== null && whole(found.participant) && (given() ?? found.participant) === found.participant &&
    Array.isArray(found.answers) && found.answers.length === total && found.answers.every(answer);
}

function startAnew() {
  state = { participant: given() ?? drawn(), begun: false, answers: Array(total).fill(null) };
  open();
}

function open() {
  order = shuffled(survey.seed, state.participant);
  $("unkept").hidden = keep();
  const gap = state.answers.indexOf(null);
  if (gap < 0) finish();
  else if (state.begun) ask(gap);
  else show("intro");
}

// ---- a question ----

function show(screen) {
  for (const id of ["intro", "ask", "end"]) $(id).hidden = id !== screen;
  scrollTo(0, 0);
}

function ask(next) {
  place = next;
  const { question: index, first } = order[place];
  const question = survey.questions[index];
  show("ask");
  $("progress").textContent = `${place + 1} of ${total}`;
  $("bar").max = total;
  $("bar").value = place;
  $("prompt").hidden = !question.prompt;
  $("prompt").textContent = question.prompt;
  $("back").disabled = place === 0;
  $("next").disabled = state.answers[place] === null;
  const arms = { first, second: first === "a" ? "b" : "a" };
  for (const [side, arm] of Object.entries(arms)) {
    const picture = $(`${side}-picture`);
    picture.width = question.width;
    picture.height = question.height;
    picture.src = question[arm];
    $(side).setAttribute("aria-pressed", String(state.answers[place]?.chosen === arm));
  }
  arrange();
  whenShown();
  $("question").focus({ preventScroll: true });
}

function whenShown() {
  // An answer counts only once both pictures are there to be seen.
  const asked = place;
  ready = false;
  $("pictures").setAttribute("aria-busy", "true");
  Promise.allSettled([$("first-picture").decode(), $("second-picture").decode()]).then(() => {
    if (asked !== place) return;
    ready = true;
    shownAt = performance.now();
    $("pictures").removeAttribute("aria-busy");
  });
}

function arrange() {
  // Side by side where both fit in full size, or where they are tall; else one above the other.
  const { width, height } = survey.questions[order[place].question];
  const frame = parseFloat(getComputedStyle($("first")).paddingLeft) + 2;
  const gap = parseFloat(getComputedStyle($("pictures")).columnGap);
  const beside = height > width || 2 * (width + 2 * frame) + gap <= $("pictures").clientWidth;
  $("pictures").className = beside ? "beside" : "stacked";
  const names = beside ? ["Left", "Right"] : ["Top", "Bottom"];
  for (const [k, side] of ["first", "second"].entries()) {
    $(`${side}-side`).textContent = names[k];
    $(`${side}-picture`).alt = `${names[k]} picture`;
    $(side).setAttribute("aria-label", `Choose the ${names[k].toLowerCase()} picture`);
  }
}

function choose(side) {
  if (!ready) return;
  const { first } = order[place];
  state.answers[place] = {
    chosen: side === "first" ? first : first === "a" ? "b" : "a",
    seconds: Math.round((performance.now() - shownAt) / 100) / 10,
    layout: $("pictures").className,
  };
  forward();
}

function forward() {
  keep();
  if (place + 1 < total) ask(place + 1);
  else open();
}

// ---- the end ----

function binomial(successes, trials) {
  // Exact two-sided p against one half; it is symmetric, so both tails are twice the smaller one.
  const smaller = Math.min(successes, trials - successes);
  let term = -trials * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= smaller; k++) {
    tail += Math.exp(term);
    term += Math.log((trials - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

function result() {
  const answers = state.answers.map((answer, k) => {
    const { question, first } = order[k];
    const { pair, vigilance } = survey.questions[question];
    return { question, pair, vigilance, first, ...answer };
  });
  const checks = answers.filter(answer => answer.vigilance);
  const asked = answers.filter(answer => !answer.vigilance);
  const right = checks.filter(answer => answer.chosen === "b").length;
  const preferred = asked.filter(answer => answer.chosen === "b").length;
  return {
    format: "panorama-survey-1",
    survey: survey.survey,
    names: survey.names,
    seed: survey.seed,
    participant: state.participant,
    passed: right === checks.length,
    vigilance_right: right,
    vigilance_pairs: checks.length,
    preferred_b: preferred,
    pairs: asked.length,
    share_b: preferred / asked.length,
    p: binomial(preferred, asked.length),
    answers,
  };
}

function finish() {
  const made = result();
  // Whose pictures b were stays out of sight: the next participant may be looking.
  const { names, ...shown } = made;
  $("vigilance-row").hidden = made.vigilance_pairs === 0;
  $("vigilance").textContent = `${made.vigilance_right} of ${made.vigilance_pairs} right: ` +
    (made.passed ? "passed" : "not passed, so that this result will not be counted");
  $("share").textContent =
    `Method B in ${made.preferred_b} of ${made.pairs} pairs (${(100 * made.share_b).toFixed(1)}\u00a0%)`;
  $("test").textContent = `p = ${made.p.toPrecision(3)} (exact, two-sided, against 50\u00a0%)`;
  $("result").value = JSON.stringify(shown);
  show("end");
  $("thanks").focus({ preventScroll: true });
}

function download() {
  const text = `${JSON.stringify(result(), null, 1)}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `survey-${survey.survey}-${state.participant}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// ---- keys and buttons ----

function pressed(event) {
  if ($("ask").hidden || event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const stacked = $("pictures").className === "stacked";
  const side = KEYS[event.key] ?? (stacked ? STACKED_KEYS[event.key] : undefined);
  if (side) choose(side);
  else if (event.key === "Backspace" && place > 0) ask(place - 1);
  else return;
  event.preventDefault();
}

function confirmAnew() {
  if (confirm("Start again? The answers that this browser keeps are removed.")) startAnew();
}

addEventListener("keydown", pressed);
addEventListener("resize", () => { if (!$("ask").hidden) arrange(); });
addEventListener("hashchange", () => location.reload());
addEventListener("beforeunload", event => { if (!$("ask").hidden && !keep()) event.preventDefault(); });
$("begin").addEventListener("click", () => { state.begun = true; open(); });
for (const side of ["first", "second"]) $(side).addEventListener("click", () => choose(side));
$("back").addEventListener("click", () => ask(place - 1));
$("next").addEventListener("click", forward);
$("again").addEventListener("click", confirmAnew);
$("anew").addEventListener("click", confirmAnew);
$("download").addEventListener("click", download);
$("result").addEventListener("focus", () => $("result").select());

$("count").textContent = String(total);
state = kept();
if (state) open();
else startAnew();
