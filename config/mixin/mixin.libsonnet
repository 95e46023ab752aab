// The rules and dashboards of ringcheck as a mixin for jsonnet: prometheusAlerts, prometheusRules, grafanaDashboards.
// They are the plain files of ../prometheus and ../grafana, so that both ways give the same alerts.
local file = 'https://docs.example.org/ringcheck/runbooks.html';
local groups = std.parseYaml(importstr '../prometheus/ringcheck.rules.yml').groups;

// The groups with the rules that `wanted` admits, without groups that would be empty.
local chosen(wanted) = [
  group { rules: std.filter(wanted, group.rules) }
  for group in groups
  if std.length(std.filter(wanted, group.rules)) > 0
];

{
  _config+:: {
    // Where your team reads docs/runbooks.md; `#` and the name of the alert in lower case follow.
    ringcheckRunbookUrl: file,
    // Where people reach the agent's pages, for the links of the dashboards.
    ringcheckAgentUrl: 'http://127.0.0.1:9742',
    // Labels that every alert gets, such as {team: 'databases'}.
    ringcheckAlertLabels: {},
  },

  local config = self._config,
  local configured(rule) = rule {
    labels+: config.ringcheckAlertLabels,
    annotations+: { runbook_url: std.strReplace(super.runbook_url, file, config.ringcheckRunbookUrl) },
  },

  prometheusAlerts+:: {
    groups+: [
      group { rules: std.map(configured, group.rules) }
      for group in chosen(function(rule) std.objectHas(rule, 'alert'))
    ],
  },

  prometheusRules+:: { groups+: chosen(function(rule) std.objectHas(rule, 'record')) },

  // What an import in Grafana asks for, the configuration gives.
  local board(text) =
    local document = std.parseJson(std.strReplace(text, '${VAR_AGENT_URL}', config.ringcheckAgentUrl));
    { [key]: document[key] for key in std.objectFields(document) if !std.startsWith(key, '__') },

  grafanaDashboards+:: {
    'ringcheck-cluster.json': board(importstr '../grafana/ringcheck-cluster.json'),
    'ringcheck-fleet.json': board(importstr '../grafana/ringcheck-fleet.json'),
  },
}
