// Which charts there are. DATA is what the run wrote.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SAMPLES = "episodes learned from";
const ALARMS = DATA.alarms.map(({num_samples: x, name}) => ({x, name}));

function byId(id) {
  return document.getElementById(id);
}

function drawSuccess() {
  const series = [], colours = {sampled: "c0", greedy: "c1"};
  const train = DATA.metrics.train;
  if (train && train.columns.num_samples && train.columns.success) {
    series.push({name: "training batch", colour: "c3", x: train.columns.num_samples, y: train.columns.success});
  }
  for (const decoding of ["sampled", "greedy"]) {
    const phase = DATA.metrics[`evaluation, ${decoding}`];
    if (!phase) continue;
    const {num_samples: x, success: y, success_low: low, success_high: high} = phase.columns;
    if (!x || !y) continue;
    series.push({name: `held-out, ${decoding}`, colour: colours[decoding], x, y, low, high, dots: true, hollow: decoding === "greedy"});
  }
  if (!series.length) return byId("success-chart").append("Nothing was measured in this run.");
  return lineChart(byId("success-chart"), {
    title: "Success, held-out with 95 % intervals", xName: SAMPLES, series, y: [0, 1], height: 300, format: asPercent,
    alarms: ALARMS,
  });
}

// Title, and the metrics that are drawn into it; what a run does not have is left out.
const TRAINING = [
  ["Reward of a batch, mean", ["reward"]],
  ["Entropy, nats a token", ["entropy"]],
  ["Groups with equal rewards", ["zero_variance_share"], "share"],
  ["Sampled tokens of an episode", ["mean_action_tokens", "p95_action_tokens"]],
  ["Turns of an episode", ["mean_turns"]],
  ["Clipped tokens", ["clip_share"], "share"],
  ["KL divergence, nats a token", ["old_kl", "kl", "sampler_kl"]],
  ["Age of what is learned from, updates", ["staleness_mean", "staleness_max"]],
  ["Importance weights against the sampler", ["correction_weight_mean", "correction_weight_max"]],
  ["Importance weights out of bounds", ["correction_cut_share"], "share"],
  ["Variance that the critic foresees", ["explained_variance"]],
  ["Gradient norm", ["grad_norm", "critic_grad_norm"]],
  ["Tokens a second", ["tokens_per_second_sampling", "tokens_per_second_learning"]],
];
const SILENT_AT_ZERO = new Set(["clip_share", "old_kl", "kl", "sampler_kl", "correction_cut_share"]);
const NAMES = {
  mean_action_tokens: "mean", p95_action_tokens: "95th percentile", old_kl: "from before the step",
  kl: "from the reference", sampler_kl: "from the sampler", grad_norm: "policy", critic_grad_norm: "critic",
  staleness_mean: "mean", staleness_max: "largest", correction_weight_mean: "mean", correction_weight_max: "largest",
  tokens_per_second_sampling: "sampling", tokens_per_second_learning: "learning",
};

/** Unknown, or zero but for the rounding of floats. */
function isNothing(value) {
  return !isKnown(value) || Math.abs(value) < 1e-6;
}

function drawTraining() {
  const place = byId("training-charts"), train = DATA.metrics.train;
  if (!train) return place.append("The run made no training step.");
  const {columns} = train, x = columns.num_samples;
  if (!x) return place.append("No training step says how many episodes it learned from.");
  drawEnvironments(place, columns);
  for (const [title, names, kind] of TRAINING) {
    const present = names.filter(name => columns[name] && !(SILENT_AT_ZERO.has(name) && columns[name].every(isNothing)));
    if (!present.length) continue;
    const alone = present.length === 1;
    const series = present.flatMap((name, index) => {
      const one = {name: alone ? "each step" : NAMES[name] || name, colour: `c${index}`, x, y: columns[name]};
      return alone ? withMean(one) : [one];
    });
    const y = kind === "share" ? [0, 1] : undefined;
    lineChart(place, {title, hint: DATA.meanings[present[0]], xName: SAMPLES, series, y, format: y ? asPercent : shown, alarms: ALARMS});
  }
  return drawTimes(place, columns);
}

/** The success of training batches in each environment, where there are several; up to as many as there are colours. */
function drawEnvironments(place, columns) {
  const names = Object.keys(columns).filter(name => /^env\/.*\/success$/.test(name));
  if (names.length < 2) return;
  for (const [kind, title] of [["success", "Success in each environment"], ["weight", "Share of tasks by environment"]]) {
    const series = names.slice(0, 4).map((name, index) => ({
      name: name.slice("env/".length, -"/success".length), colour: `c${index}`, x: columns.num_samples,
      y: columns[name.replace(/success$/, kind)] || [],
    }));
    lineChart(place, {title, xName: SAMPLES, series, y: [0, 1], format: asPercent});
  }
}

/** Parts of a step's seconds; parallel parts may add up to more than the step took. */
function drawTimes(place, columns) {
  const names = Object.keys(columns).filter(name => name.startsWith("seconds_"));
  if (!columns.seconds || !names.length) return;
  const total = columns.seconds.map((seconds, index) => {
    return Math.max(seconds, names.reduce((sum, name) => sum + (columns[name][index] || 0), 0)) || 1;
  });
  const parts = names.map((name, index) => ({
    name: name.slice("seconds_".length), colour: `c${index % 3}`, y: columns[name].map((value, row) => (value || 0) / total[row]),
  }));
  const rest = total.map((_, row) => 1 - parts.reduce((sum, part) => sum + part.y[row], 0));
  parts.push({name: "other", colour: "c3", y: rest});
  areaChart(place, {title: "Where a step's time goes", xName: SAMPLES, x: columns.num_samples, parts});
}

function fillMetrics() {
  const select = byId("metric");
  for (const [phase, {columns}] of Object.entries(DATA.metrics)) {
    const names = Object.keys(columns).filter(name => name !== "step").sort();
    select.append(element("optgroup", {label: phase}, ...names.map(name => element("option", {value: `${phase}/${name}`}, name))));
  }
  if (!select.options.length) return;
  if (DATA.metrics.train) select.value = "train/loss";
  if (!select.value) select.selectedIndex = 0;
  select.onchange = drawMetric;
  drawMetric();
}

function drawMetric() {
  const [phase] = byId("metric").value.split("/", 1), name = byId("metric").value.slice(phase.length + 1);
  const {columns, every} = DATA.metrics[phase];
  const note = every > 1 ? `one step in ${every} is drawn` : "";
  const series = withMean({name: "each step", colour: "c0", x: columns.step, y: columns[name], dots: columns.step.length < 20});
  byId("metric-chart").replaceChildren();
  const alarms = phase === "cold_start" ? [] : DATA.alarms.map(alarm => ({x: alarm.step, name: alarm.name}));
  lineChart(byId("metric-chart"), {
    title: `${name} (${phase})`, hint: DATA.meanings[name], xName: "step", series, note, height: 260, alarms,
  });
}

function drawDistributions() {
  const place = byId("distributions");
  for (const [kind, xName] of [["lengths", "sampled tokens"], ["turns", "turns"]]) {
    for (const [decoding, counts] of Object.entries(DATA[kind])) {
      histogram(place, {title: `${kind === "lengths" ? "Tokens" : "Turns"}, ${decoding}`, xName, counts});
    }
  }
  if (!place.childNodes.length) place.append("No held-out episodes are stored with this run.");
}

/** The reader's choice of colours; kept by the browser where a file may keep anything. */
function chooseTheme() {
  const select = byId("theme");
  const apply = () => {
    if (select.value) document.documentElement.dataset.theme = select.value;
    else delete document.documentElement.dataset.theme;
  };
  try { select.value = localStorage.getItem("llmgym-theme") || ""; } catch { /* files may have no storage */ }
  select.onchange = () => {
    apply();
    try { localStorage.setItem("llmgym-theme", select.value); } catch { /* files may have no storage */ }
  };
  apply();
}

chooseTheme();
drawSuccess();
drawTraining();
fillMetrics();
drawDistributions();
