// Episodes: filters, pages, and cards that are filled when they are opened.

const PAGE_SIZE = 25;
const ENVS = [...new Set(DATA.episodes.map(episode => episode.env))].sort();
const state = {found: [], page: 0};

/** Characters that would be invisible or move their neighbours, as something that can be seen. */
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\u0080-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, character => {
    const code = character.codePointAt(0);
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

function tokenText(segment, position) {
  const own = segment.texts && segment.texts[position];
  return own === undefined ? DATA.tokens[segment.ids[position]] : [own, false];
}

/** [start, stop, whether the policy wrote it] for each run of tokens of a segment. */
function runsOf(segment) {
  const edges = [0, ...segment.borders, segment.ids.length], runs = [];
  for (let index = 0; index + 1 < edges.length; index++) {
    if (edges[index] < edges[index + 1]) runs.push([edges[index], edges[index + 1], index % 2 === 1]);
  }
  return runs;
}

/** Text of all tokens, of the world's or of the policy's; each control token is a space. */
function plainText(episode, writer = "all") {
  const parts = [];
  for (const segment of episode.segments) {
    for (const [start, stop, isPolicy] of runsOf(segment)) {
      if (writer !== "all" && (writer === "policy") !== isPolicy) continue;
      for (let position = start; position < stop; position++) {
        const [text, isControl] = tokenText(segment, position);
        parts.push(isControl ? " " : text);
      }
    }
  }
  return parts.join("");
}

/** The end of the first prompt, and how the policy began. */
function preview(episode) {
  const [first] = episode.segments, [run] = first ? runsOf(first) : [];
  const prompt = run ? plainText({segments: [{...first, ids: first.ids.slice(0, run[1]), borders: [run[1]]}]}, "world") : "";
  const oneLine = text => visible(text.trim().replace(/\s+/g, " "));
  const asked = oneLine(prompt), answered = oneLine(plainText(episode, "policy"));
  return `${asked.length > 70 ? "… " + asked.slice(-70) : asked}  →  ${answered.slice(0, 120)}`;
}

/** What a search looks at; made once for each episode. */
function searchText(episode) {
  if (episode.searched === undefined) {
    const words = [plainText(episode), episode.task, `group ${episode.group}`];
    for (const turn of episode.turns) {
      if (turn.score) words.push(turn.score.reason, turn.score.extracted || "", turn.score.expected || "");
    }
    Object.defineProperty(episode, "searched", {value: words.join("\n").toLowerCase()});
  }
  return episode.searched;
}

function matches(episode, wanted) {
  const source = DATA.sources[episode.source];
  if (wanted.source === "held-out" ? !source.is_held_out : wanted.source === "training" ? source.is_held_out
    : wanted.source && Number(wanted.source) !== episode.source) return false;
  if (wanted.outcome && episode.outcome !== wanted.outcome) return false;
  if (wanted.stop && episode.stop !== wanted.stop) return false;
  if (wanted.env && episode.env !== wanted.env) return false;
  return !wanted.query || searchText(episode).includes(wanted.query);
}

function filter() {
  const wanted = {source: byId("source").value, outcome: byId("outcome").value, stop: byId("stop").value,
    env: byId("env").value, query: byId("query").value.toLowerCase()};
  state.found = DATA.episodes.filter(episode => matches(episode, wanted));
  state.page = 0;
  showPage();
}

function showPage() {
  const last = Math.max(0, Math.ceil(state.found.length / PAGE_SIZE) - 1);
  state.page = Math.max(0, Math.min(last, state.page));
  const first = state.page * PAGE_SIZE, cards = state.found.slice(first, first + PAGE_SIZE);
  byId("count").textContent = state.found.length
    ? `${(first + 1).toLocaleString("en")} to ${(first + cards.length).toLocaleString("en")} of ${state.found.length.toLocaleString("en")} episodes`
    : "No episode fits.";
  byId("page").textContent = `page ${state.page + 1} of ${last + 1}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === last;
  byId("cards").replaceChildren(...cards.map(card));
}

const BADGES = {success: "✓ success", failure: "✗ failure", invalid: "! invalid"};

function card(episode) {
  const numTokens = episode.segments.reduce((sum, segment) => {
    return sum + runsOf(segment).reduce((count, [start, stop, isPolicy]) => count + (isPolicy ? stop - start : 0), 0);
  }, 0);
  const turns = episode.turns.length;
  const summary = element("summary", {},
    element("span", {class: `badge ${episode.outcome}`}, BADGES[episode.outcome]),
    element("span", {}, `reward ${shown(episode.reward)}`),
    element("span", {class: "meta"}, `${turns} turn${turns === 1 ? "" : "s"}, ${numTokens} tokens, ${episode.stop.replaceAll("_", " ")}`),
    element("span", {class: "meta"}, (ENVS.length > 1 ? `${episode.env}, ` : "") + DATA.sources[episode.source].name),
    element("span", {class: "preview"}, preview(episode)));
  const details = element("details", {class: "episode"}, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(body(episode));
  });
  return details;
}

/** Which episode it is, and whose weights sampled it. */
function origin(episode) {
  const parts = [`task ${episode.task}`, `group ${episode.group}`, `sample ${episode.sample}`];
  if (episode.versions) parts.push(`sampled with the weights after ${[...new Set(episode.versions)].join(" to ")} updates`);
  if (isKnown(episode.advantages)) parts.push(`advantage of every sampled token ${shown(episode.advantages)}`);
  return parts.join(", ");
}

function body(episode) {
  const node = element("div", {class: "body"}, element("p", {class: "meta"}, origin(episode)));
  const tokens = [], shownTurns = new Set();
  const largest = Array.isArray(episode.advantages) ? Math.max(...episode.advantages.map(Math.abs)) : Math.max(Math.abs(episode.advantages || 0), 2);
  let action = 0;
  episode.segments.forEach((segment, segmentIndex) => {
    if (segmentIndex) node.append(element("p", {class: "meta"}, "The context was rewritten; the episode goes on in a new sequence."));
    for (const [start, stop, isPolicy] of runsOf(segment)) {
      const ended = episode.turns.map((turn, index) => [turn, index]).filter(([turn]) => isPolicy && turn.segment === segmentIndex && start <= turn.start && turn.start < stop);
      const who = isPolicy ? `Policy${ended.length ? ", turn " + ended.map(([, index]) => index + 1).join(" and ") : ""}` : "World";
      const stream = element("div", {class: `stream ${isPolicy ? "policy" : "world"}`});
      for (let position = start; position < stop; position++) {
        const facts = {id: segment.ids[position], position, who: isPolicy ? "policy" : "world"};
        if (isPolicy) {
          facts.logprob = episode.logprobs ? episode.logprobs[action] : null;
          facts.advantage = Array.isArray(episode.advantages) ? episode.advantages[action] : episode.advantages;
          action++;
        }
        const span = tokenSpan(tokenText(segment, position), facts, largest);
        span.dataset.index = tokens.push(facts) - 1;
        stream.append(span);
      }
      node.append(element("p", {class: "who"}, who), stream);
      for (const [turn, index] of ended) {
        shownTurns.add(index);
        node.append(...results(turn));
      }
    }
  });
  episode.turns.forEach((turn, index) => { if (!shownTurns.has(index)) node.append(...results(turn)); });
  addTokenReading(node, tokens);
  return node;
}

function tokenSpan([text, isControl], facts, largest) {
  const seen = isControl ? text : visible(text).replaceAll("\t", "⇥\t").replaceAll("\n", "↵\n");
  const span = element("span", {class: `t ${isControl ? "control" : ""}`}, visible(seen) || "·");
  // Three classes of colour at once; the page's choice of colour decides which of them is seen.
  const weights = {logprob: isKnown(facts.logprob) ? Math.min(1, -facts.logprob / 3) : 0,
    advantage: isKnown(facts.advantage) && largest ? Math.min(1, Math.abs(facts.advantage) / largest) : 0};
  span.dataset.logprob = weights.logprob;
  span.dataset.advantage = weights.advantage;
  if (isKnown(facts.advantage)) span.classList.add(facts.advantage < 0 ? "minus" : "plus");
  weigh(span, byId("colour").value);
  return span;
}

function weigh(span, colour) {
  span.style.setProperty("--w", span.dataset[colour] || 0);
}

function results(turn) {
  const rows = [];
  for (const call of turn.calls || []) rows.push(["tool call", `${call.name}(${JSON.stringify(call.arguments)})`]);
  for (const call of turn.malformed || []) rows.push(["malformed call", `${call.text}: ${call.problem}`]);
  if (turn.score) {
    const {reward, is_valid: isValid, extracted, expected, reason, parts} = turn.score;
    rows.push(["score", isValid ? shown(reward) : `invalid (${shown(reward)})`]);
    for (const [name, value] of Object.entries(parts)) rows.push([`part ${name}`, shown(value)]);
    if (extracted !== null) rows.push(["extracted", extracted]);
    if (expected !== null) rows.push(["expected", expected]);
    if (reason) rows.push(["reason", reason]);
  }
  if (!rows.length) return [];
  return [element("dl", {class: "result"}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, visible(value))]))];
}

/** Facts of the token that is pointed at, tapped, or reached by the arrow keys. */
function addTokenReading(node, tokens) {
  const readout = element("div", {class: "token-readout", tabindex: 0, role: "group", "aria-live": "polite",
    "aria-label": "Token under the pointer; arrow keys move from token to token"}, "Point at a token for its numbers.");
  const spans = [...node.querySelectorAll(".t")];
  let current = -1;
  const show = index => {
    if (spans[current]) spans[current].classList.remove("current");
    current = Math.max(0, Math.min(spans.length - 1, index));
    const {id, position, who, logprob, advantage} = tokens[current];
    const parts = [`${JSON.stringify(spans[current].textContent)}  id ${id}`, `position ${position}`, who];
    if (isKnown(logprob)) parts.push(`log-probability ${logprob.toFixed(3)} (p = ${Math.exp(logprob).toPrecision(3)})`);
    if (isKnown(advantage)) parts.push(`advantage ${shown(advantage)}`);
    spans[current].classList.add("current");
    readout.textContent = parts.join(", ");
  };
  node.append(readout);
  const point = event => {
    const span = event.target.closest(".t");
    if (span) show(Number(span.dataset.index));
  };
  node.addEventListener("pointerover", point);
  node.addEventListener("click", point);
  readout.addEventListener("focus", () => show(current));
  readout.addEventListener("keydown", event => {
    const move = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10, Home: -Infinity, End: Infinity}[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(current + move);
  });
}

const KEYS = {
  mask: () => [element("span", {class: "chip-mark"}, "written by the policy"), "plain: written by the world or a tool, never learned from", element("span", {class: "control"}, "control token")],
  logprob: () => ["certain", element("span", {class: "ramp low"}), "improbable (log-probability −3 or less)"],
  advantage: () => ["worse than expected", element("span", {class: "ramp both"}), "better than expected; none: not learned from"],
};

function recolour() {
  const colour = byId("colour").value;
  byId("cards").className = `by-${colour}`;
  byId("colour-key").replaceChildren(...KEYS[colour]().map(part => (typeof part === "string" ? element("span", {}, part) : part)));
  for (const span of byId("cards").querySelectorAll(".t")) weigh(span, colour);
}

function fillFilters() {
  const source = byId("source"), option = (value, name) => element("option", {value}, name);
  source.append(option("", "everywhere"), option("held-out", "held-out tasks"), option("training", "training batches"));
  DATA.sources.forEach(({name, kept, total}, index) => source.append(option(index, `${name} (${kept} of ${total})`)));
  const reasons = [...new Set(DATA.episodes.map(episode => episode.stop))].sort();
  byId("stop").append(option("", "all"), ...reasons.map(reason => option(reason, reason.replaceAll("_", " "))));
  byId("env").append(option("", "all"), ...ENVS.map(name => option(name, name)));
  byId("env-label").hidden = ENVS.length < 2;
  for (const id of ["source", "env", "outcome", "stop"]) byId(id).onchange = filter;
  let waiting;
  byId("query").oninput = () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); };
  byId("filters").onsubmit = event => { event.preventDefault(); filter(); };
  byId("colour").onchange = recolour;
  const turn = pages => () => {
    state.page += pages;
    showPage();
    byId("episodes").scrollIntoView();
  };
  byId("previous").onclick = turn(-1);
  byId("next").onclick = turn(1);
}

fillFilters();
recolour();
filter();
