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

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// object is a JSON object of Grafana's classic schema; only what differs between stacks is named.
type object = map[string]any

// templates of all dashboards. The one for HTTP differs by the framework's names, and by what the
// framework does not expose.
type templates struct {
	overview, tasks *template
	http            map[obsv1.Framework]*template
}

// template is a dashboard file, ready to be rendered for a stack.
type template struct {
	// before and after the panels.
	before, after text
	// links of the file, as the rest of a list.
	links text
	// rows of the grid, from the top.
	rows [][]panelTemplate
}

// load reads the files of all dashboards.
func load(files fs.FS, table map[obsv1.Framework]framework.Framework) (*templates, error) {
	all := &templates{http: map[obsv1.Framework]*template{}}
	known := map[string]bool{}
	for _, f := range table {
		for name := range f.Variables() {
			known[name] = true
		}
	}
	var err, problems error
	all.overview, err = read(files, Overview, func(d object) error { return checkVariables(d, known) })
	problems = errors.Join(problems, err)
	all.tasks, err = read(files, Tasks, func(d object) error { return checkVariables(d, known) })
	problems = errors.Join(problems, err)
	for name, f := range table {
		all.http[name], err = read(files, "http", func(d object) error { return useFramework(d, name, f) })
		problems = errors.Join(problems, err)
	}
	return all, problems
}

// read decodes a file, prepares it, and takes it apart.
func read(files fs.FS, name string, prepare func(object) error) (*template, error) {
	content, err := fs.ReadFile(files, name+".json")
	if err != nil {
		return nil, fmt.Errorf("read dashboard %s: %w", name, err)
	}
	d := object{}
	if err := json.Unmarshal(content, &d); err != nil {
		return nil, fmt.Errorf("decode dashboard %s: %w", name, err)
	}
	if err := prepare(d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	t, err := newTemplate(d, name == "http")
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	return t, nil
}

// exampleTag is the tag in the files that stands for the one which all dashboards of a stack share.
const exampleTag = "stack:namespace/name"

// newTemplate takes a dashboard apart. choosesMonitor says that the file's "$monitor" is a variable
// of Grafana, and not one query for each monitor.
func newTemplate(d object, choosesMonitor bool) (*template, error) {
	title, err := get[string](d, "title")
	if err != nil {
		return nil, err
	}
	t := &template{}
	if t.rows, err = panelRows(d, choosesMonitor); err != nil {
		return nil, err
	}
	d["uid"] = placeholder("uid")
	// Titles must be unique within a folder of Grafana.
	d["title"] = title + ": " + placeholder("namespace") + " / " + placeholder("stack")
	d["tags"] = []any{"obstack", placeholder("tag")}
	links, err := objects(d, "links")
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		if tags, ok := link["tags"].([]any); ok && slices.Contains(tags, any(exampleTag)) {
			link["tags"] = []any{placeholder("tag")}
		}
	}
	if t.links, err = newText(d["links"]); err != nil {
		return nil, err
	}
	t.links.literals[0] = strings.TrimPrefix(t.links.literals[0], "[")
	d["links"] = rawPlaceholder("links")
	if err := stackVariables(d); err != nil {
		return nil, err
	}
	d["panels"] = rawPlaceholder("panels")
	whole, err := newText(d)
	t.before, t.after = whole.split("panels")
	return t, err
}

// stackVariables makes the values of a stack's variables placeholders, and removes those that stand
// for a framework's names, which the template has already.
func stackVariables(d object) error {
	templating, err := get[object](d, "templating")
	if err != nil {
		return err
	}
	variables, err := objects(templating, "list")
	if err != nil {
		return err
	}
	var kept []any
	for _, variable := range variables {
		name, err := get[string](variable, "name")
		if err != nil {
			return err
		}
		switch variable["type"] {
		case "query":
		case "custom":
			variable["query"] = placeholder(name + "s")
			if variable["includeAll"] != true {
				variable["current"] = current(placeholder(name))
			}
		case "datasource":
			variable["current"] = current(placeholder(name))
		default:
			if name != "namespace" && name != "stack" {
				continue
			}
			variable["query"], variable["current"] = placeholder(name), current(placeholder(name))
		}
		kept = append(kept, variable)
	}
	templating["list"] = kept
	return nil
}

func current(value string) object {
	return object{"selected": true, "text": value, "value": value}
}

// variable is what stands for a framework's name in the files, as Grafana writes it.
var variable = regexp.MustCompile(`\$\{([a-z_]+):raw\}`)

// checkVariables refuses a variable that no framework has, which would hide its panel for ever.
func checkVariables(d object, known map[string]bool) error {
	encoded, err := encode(d["panels"])
	if err != nil {
		return err
	}
	for _, match := range variable.FindAllStringSubmatch(encoded, -1) {
		if !known[match[1]] {
			return fmt.Errorf("no framework has the variable %s", match[0])
		}
	}
	return nil
}

// useFramework writes a framework's names for the variables that stand for them.
func useFramework(d object, name obsv1.Framework, f framework.Framework) error {
	d["title"] = "HTTP (" + string(name) + ")"
	panels, err := objects(d, "panels")
	if err != nil {
		return err
	}
	var all []any
	for _, panel := range panels {
		panel, err := forFramework(panel, f)
		if err != nil {
			return fmt.Errorf("framework %s: %w", name, err)
		}
		all = append(all, panel)
	}
	d["panels"] = all
	return nil
}

// forFramework is a panel with the names of a framework. One that asks for something which the
// framework lacks says so instead of staying empty.
func forFramework(panel object, f framework.Framework) (object, error) {
	encoded, err := encode(panel)
	if err != nil {
		return nil, err
	}
	matches := variable.FindAllStringSubmatch(encoded, -1)
	for _, match := range matches {
		if why, ok := f.Lacks[match[1]]; ok {
			return textPanel(panel, why), nil
		}
	}
	values := f.Variables()
	for _, match := range matches {
		value, ok := values[match[1]]
		if !ok {
			return nil, fmt.Errorf("panel %v: the framework neither has nor lacks %s", panel["title"], match[0])
		}
		encoded = strings.ReplaceAll(encoded, match[0], quoted(value))
	}
	filled := object{}
	return filled, json.Unmarshal([]byte(encoded), &filled)
}

// textPanel stands in the place of another panel.
func textPanel(panel object, content string) object {
	return object{
		"id": panel["id"], "title": panel["title"], "description": panel["description"], "gridPos": panel["gridPos"],
		"type": "text", "fieldConfig": object{"defaults": object{}, "overrides": []any{}},
		"options": object{"mode": "markdown", "content": content},
	}
}

// get reads a field of a JSON object.
func get[T any](of object, field string) (T, error) {
	value, ok := of[field].(T)
	if !ok {
		return value, fmt.Errorf("field %s is %T, want %T", field, of[field], value)
	}
	return value, nil
}

// objects reads a field that is a list of JSON objects.
func objects(of object, field string) ([]object, error) {
	list, err := get[[]any](of, field)
	if err != nil {
		return nil, err
	}
	all := make([]object, 0, len(list))
	for i, element := range list {
		one, ok := element.(object)
		if !ok {
			return nil, fmt.Errorf("field %s[%d] is %T, want an object", field, i, element)
		}
		all = append(all, one)
	}
	return all, nil
}
