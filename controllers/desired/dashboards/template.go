// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"obstack.dev/obstack/controllers/desired/framework"
)

// object is a JSON object of Grafana's classic schema; only what differs between stacks is named.
type object = map[string]any

// template is a dashboard file as JSON with placeholders. Files are decoded and taken apart once,
// when the program starts: doing so for each stack and pass was most of the cost of a pass.
type template struct {
	// head is the dashboard without its panels.
	head string
	// rows of the grid, from the top.
	rows [][]panel
	// size of the panels, about.
	size int
}

type panel struct {
	width, height int
	// text is the panel without its queries.
	text string
	// queries of the file, none for a text.
	queries []query
	// names of a framework are asked for by the panel, and lacking stands in its place where the
	// framework lacks one.
	names   []string
	lacking string
}

// query is one query of the file.
type query struct {
	text string
	// each is set if it is repeated for each monitor.
	each bool
	// needs are the values without which it is left out.
	needs []string
}

// variable is what stands for a framework's name in the files, as Grafana writes it.
var variable = regexp.MustCompile(`\$\{([a-z_]+):raw\}`)

// load reads the files of all dashboards.
func load(files fs.FS) (map[string]*template, error) {
	all := map[string]*template{}
	var problems error
	for _, name := range []string{Overview, http, Tasks} {
		content, err := fs.ReadFile(files, name+".json")
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("read dashboard %s: %w", name, err))
			continue
		}
		var file object
		if err := json.Unmarshal(content, &file); err != nil {
			problems = errors.Join(problems, fmt.Errorf("decode dashboard %s: %w", name, err))
			continue
		}
		r := reader{isHTTP: name == http}
		if all[name] = r.template(file); r.err != nil {
			problems = errors.Join(problems, fmt.Errorf("dashboard %s: %w", name, r.err))
		}
	}
	return all, problems
}

// reader takes a dashboard apart, and keeps what is wrong with it.
type reader struct {
	// isHTTP is set for the dashboard that there is for each framework. There "$monitor" is a
	// variable of Grafana, and not one query for each monitor.
	isHTTP bool
	// at is where it reads, for errors.
	at  string
	err error
}

func (r *reader) fail(format string, args ...any) {
	r.err = errors.Join(r.err, fmt.Errorf("%s%w", r.at, fmt.Errorf(format, args...)))
}

// exampleTag is the tag in the files that stands for the one which all dashboards of a stack share.
const exampleTag = "stack:namespace/name"

func (r *reader) template(d object) *template {
	t := &template{size: len(r.encode(d["panels"])) + 4096}
	t.rows = r.rows(objects(r, d, "panels"))
	title := "HTTP (" + placeholder("framework") + ")"
	if !r.isHTTP {
		title = get[string](r, d, "title")
	}
	// Titles must be unique within a folder of Grafana.
	d["title"] = title + ": " + placeholder("namespace") + " / " + placeholder("stack")
	d["uid"] = placeholder("uid")
	d["tags"] = []any{"obstack", placeholder("tag")}
	links := []any{rawPlaceholder("links")}
	for _, link := range objects(r, d, "links") {
		if tags, ok := link["tags"].([]any); ok && slices.Contains(tags, any(exampleTag)) {
			link["tags"] = []any{placeholder("tag")}
		}
		links = append(links, link)
	}
	d["links"] = links
	variables := r.variables(objects(r, get[object](r, d, "templating"), "list"))
	if len(variables) > 0 { // The first is the data source.
		variables = slices.Insert(variables, 1, any(rawPlaceholder("cluster variable")))
	}
	d["templating"] = object{"list": variables}
	d["panels"] = rawPlaceholder("panels")
	t.head = strings.NewReplacer(
		placeholder("links")+",", placeholder("links"), // each of the stack's has a comma behind it
		placeholder("cluster variable")+",", placeholder("cluster variable"), // likewise
		placeholder("panels"), "[\n"+placeholder("panels")+"\n]",
	).Replace(r.text(d))
	return t
}

// variables makes the values of a stack's variables placeholders, and removes those that stand for
// a framework's names, which the panels have already.
func (r *reader) variables(all []object) (kept []any) {
	for _, v := range all {
		name := get[string](r, v, "name")
		switch {
		case v["type"] == "query":
		case v["type"] == "custom":
			v["query"] = placeholder(name + "s")
			if v["includeAll"] != true {
				v["current"] = current(placeholder(name))
			}
		case v["type"] == "datasource":
			v["current"] = current(placeholder(name))
		case name == "namespace" || name == "stack":
			v["query"], v["current"] = placeholder(name), current(placeholder(name))
		default:
			continue
		}
		kept = append(kept, v)
	}
	return kept
}

func current(value string) object {
	return object{"selected": true, "text": value, "value": value}
}

// rows groups panels that stand side by side.
func (r *reader) rows(panels []object) (rows [][]panel) {
	last := -1.0
	for _, p := range panels {
		r.at = fmt.Sprintf("panel %v: ", p["title"])
		position := get[object](r, p, "gridPos")
		if y := get[float64](r, position, "y"); y != last {
			rows, last = append(rows, nil), y
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], r.panel(p, position))
	}
	r.at = ""
	return rows
}

func (r *reader) panel(p, position object) panel {
	made := panel{width: int(get[float64](r, position, "w")), height: int(get[float64](r, position, "h"))}
	p["gridPos"] = object{
		"x": rawPlaceholder("x"), "y": rawPlaceholder("y"), "w": rawPlaceholder("w"), "h": position["h"],
	}
	made.names = r.names(p)
	made.lacking = r.text(object{
		"id": p["id"], "title": p["title"], "description": p["description"], "gridPos": p["gridPos"],
		"type": "text", "fieldConfig": object{"defaults": object{}, "overrides": []any{}},
		"options": object{"mode": "markdown", "content": placeholder("why")},
	})
	if p["targets"] != nil {
		for _, target := range objects(r, p, "targets") {
			made.queries = append(made.queries, r.query(target))
		}
		p["targets"] = rawPlaceholder("targets")
	}
	made.text = r.text(p)
	return made
}

// names are the variables in a panel. A name that a framework neither has nor lacks would hide the
// panel for ever.
func (r *reader) names(p object) []string {
	var names []string
	for _, match := range variable.FindAllStringSubmatch(r.encode(p), -1) {
		names = append(names, match[1])
	}
	for name, f := range framework.Table {
		missing := slices.IndexFunc(names, func(name string) bool { return f.Variables()[name] == "" })
		if _, lacks := why(f, names); missing >= 0 && !lacks {
			r.fail("framework %s neither has nor lacks ${%s:raw}", name, names[missing])
		}
	}
	return names
}

func (r *reader) query(target object) (q query) {
	expr := get[string](r, target, "expr")
	q.needs = r.names(target)
	if _, ok := target["interval"]; ok && strings.Contains(expr, "$monitor") {
		target["interval"] = placeholder("interval")
	}
	switch {
	case r.isHTTP:
	case strings.Contains(expr, "$monitor"):
		q.each = true
		target["expr"] = strings.ReplaceAll(expr, "$monitor", placeholder("monitor in PromQL"))
		if legend, ok := target["legendFormat"].(string); ok {
			target["legendFormat"] = strings.ReplaceAll(legend, "$monitor", placeholder("monitor"))
		}
	case strings.Contains(expr, "celery_"):
		q.needs = append(q.needs, "brokers")
	case strings.Contains(expr, "obstack:slo_"):
		q.needs = append(q.needs, "slos")
	case strings.Contains(expr, "obstack_python_"):
		q.needs = append(q.needs, "python")
	}
	target["refId"] = placeholder("refId")
	q.text = r.text(target)
	return q
}

// Marks of a placeholder, in code points that no dashboard uses. A raw placeholder is a string of
// its own, and its value any JSON.
const (
	markOpens, markCloses = "\ue000", "\ue001"
	rawOpens, rawCloses   = "\ue002", "\ue003"
)

func placeholder(name string) string    { return markOpens + name + markCloses }
func rawPlaceholder(name string) string { return rawOpens + name + rawCloses }

// ofStack is among the matchers of every query, as JSON has it. The cluster's stands behind it.
const ofStack = `obstack_stack=\"$stack\"`

var rawMarks = strings.NewReplacer(`"`+rawOpens, markOpens, rawCloses+`"`, markCloses)

// text is JSON with placeholders.
func (r *reader) text(tree any) string {
	text := strings.ReplaceAll(rawMarks.Replace(r.encode(tree)), ofStack, ofStack+placeholder("cluster matcher"))
	return variable.ReplaceAllString(text, placeholder("$1"))
}

func (r *reader) encode(tree any) string {
	encoded, err := encode(tree)
	r.err = errors.Join(r.err, err)
	return encoded
}

// encode writes JSON with sorted keys, and "<" as itself.
func encode(value any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// get reads a field of a JSON object.
func get[T any](r *reader, of object, field string) T {
	value, ok := of[field].(T)
	if !ok {
		r.fail("field %s is %T, want %T", field, of[field], value)
	}
	return value
}

// objects reads a field that is a list of JSON objects.
func objects(r *reader, of object, field string) (all []object) {
	for i, element := range get[[]any](r, of, field) {
		one, ok := element.(object)
		if !ok {
			r.fail("field %s[%d] is %T, want an object", field, i, element)
			continue
		}
		all = append(all, one)
	}
	return all
}
