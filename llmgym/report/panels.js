// Which charts there are. DATA is what the run wrote.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SAMPLES = "episodes learned from";

function byId(id) {
  return document.getElementById(id);
}

function drawSuccess() {
  const series = [], colours = {sampled: "c0", greedy: "c1"};
  const train = DATA.metrics.train;
  if (train && train.columns.success) {
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
  });
}

const TRAINING = [
  ["reward", "Reward of a batch, mean"],
  ["entropy", "Entropy, nats a token"],
  ["grad_norm", "Gradient norm"],
  ["zero_variance_share", "Groups without any difference in reward"],
  ["mean_action_tokens", "Length, sampled tokens of an episode"],
  ["mean_turns", "Turns of an episode"],
];

function drawTraining() {
  const place = byId("training-charts"), train = DATA.metrics.train;
  if (!train) return place.append("The run made no training step.");
  const columns = train.columns;
  for (const [name, title] of TRAINING) {
    if (!columns[name]) continue;
    const y = name === "zero_variance_share" ? [0, 1] : undefined;
    const format = y ? asPercent : shown;
    const series = withMean({name: "each step", colour: "c0", x: columns.num_samples, y: columns[name]});
    lineChart(place, {title, xName: SAMPLES, series, y, format});
  }
  return drawTimes(place, columns);
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
  const [phase, name] = byId("metric").value.split("/");
  const {columns, every} = DATA.metrics[phase];
  const note = every > 1 ? `one step in ${every} is drawn` : "";
  const series = withMean({name: "each step", colour: "c0", x: columns.step, y: columns[name], dots: columns.step.length < 20});
  byId("metric-chart").replaceChildren();
  lineChart(byId("metric-chart"), {title: `${name} (${phase})`, xName: "step", series, note, height: 260});
}

function drawDistributions() {
  const place = byId("distributions");
  for (const [kind, xName] of [["lengths", "sampled tokens"], ["turns", "turns"]]) {
    for (const [decoding, counts] of Object.entries(DATA[kind])) {
      histogram(place, {title: `${kind === "lengths" ? "Length" : "Turns"} of an episode, ${decoding}`, xName, counts});
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
