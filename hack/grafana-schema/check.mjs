// Type-checks Grafana dashboards against the types that Grafana publishes:
// npm ci && node check.mjs FILE...
// A dashboard becomes a literal of TypeScript, because only in a literal does the compiler refuse
// fields that the type does not have.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const types = join(here, "node_modules/@grafana/schema/dist/types");

// Where the types of a panel's options and of its field settings are.
const panels = {
  timeseries: { module: "timeseries", options: "Options", custom: "FieldConfig" },
  stat: { module: "stat", options: "Options" },
  table: { module: "table", options: "Options", custom: "FieldConfig" },
  heatmap: { module: "heatmap", options: "Options", custom: "FieldConfig" },
  text: { module: "text", options: "Options" },
};

function source(file) {
  const dashboard = JSON.parse(readFileSync(file, "utf8"));
  const lines = [`import type { Dashboard } from "@grafana/schema";`];
  for (const [type, { module }] of Object.entries(panels)) {
    lines.push(`import type * as ${type} from "${types}/raw/composable/${module}/panelcfg/x/types.gen";`);
  }
  // Enumerations of strings become their values, so that "multi" may stand for
  // TooltipDisplayMode.Multi.
  lines.push(
    "type Plain<T> = T extends string ? `${T}` : T extends (infer E)[] ? Plain<E>[] :",
    "  T extends object ? string extends keyof T ? T : { [K in keyof T]: Plain<T[K]> } : T;",
  );
  dashboard.panels.forEach((panel, i) => {
    const known = panels[panel.type];
    if (!known && panel.type !== "row") throw new Error(`${file}: no types for panels of type ${panel.type}`);
    if (!known) return;
    lines.push(`export const options${i}: Plain<Partial<${panel.type}.Options>> = ${JSON.stringify(panel.options)};`);
    const custom = panel.fieldConfig?.defaults?.custom;
    if (custom && known.custom) {
      lines.push(`export const custom${i}: Plain<Partial<${panel.type}.${known.custom}>> = ${JSON.stringify(custom)};`);
    }
  });
  // What plugins add to the types of the core: a target's query is Prometheus', an annotation's
  // format its data source's.
  for (const annotation of dashboard.annotations?.list ?? []) {
    for (const key of ["titleFormat", "textFormat", "useValueForTime"]) delete annotation[key];
    delete annotation.target;
  }
  for (const panel of dashboard.panels) {
    delete panel.options;
    if (panel.targets) panel.targets = panel.targets.map(({ refId, datasource }) => ({ refId, datasource }));
    if (panel.fieldConfig?.defaults) delete panel.fieldConfig.defaults.custom;
  }
  for (const variable of dashboard.templating.list) delete variable.definition;
  lines.push(`export const dashboard: Plain<Dashboard> = ${JSON.stringify(dashboard)};`);
  return lines.join("\n");
}

// check compiles the files' literals and prints what does not fit.
function check(files) {
  const dir = mkdtempSync(join(here, ".check-"));
  try {
    const names = files.map((file) => join(dir, basename(file, ".json") + ".ts"));
    files.forEach((file, i) => writeFileSync(names[i], source(file)));
    const program = ts.createProgram(names, {
      strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, types: [],
      module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    });
    const problems = ts.getPreEmitDiagnostics(program);
    for (const problem of problems) {
      const where = problem.file ? basename(problem.file.fileName, ".ts") + ".json" : "";
      const at = problem.file ? problem.file.text.slice(problem.start, problem.start + 80) : "";
      console.error(`${where}: ${ts.flattenDiagnosticMessageText(problem.messageText, "\n  ")}\n  at ${at}`);
    }
    return problems.length;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const files = process.argv.slice(2);
if (files.length === 0 || check(files) > 0) process.exit(1);
console.log(`${files.length} dashboards fit the types of @grafana/schema`);
