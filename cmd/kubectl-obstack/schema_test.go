// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// printed are what the commands print with -o json and -o yaml.
var printed = map[string]any{
	"status":  StatusReport{},
	"explain": Explanation{},
	"diff":    DiffReport{},
	"doctor":  DoctorReport{},
	"pause":   ActionReport{},
	"resume":  ActionReport{},
	"release": ActionReport{},
	"rollout": ActionReport{},
	"verify":  VerifyReport{},
}

// reflector makes JSON Schemas of Go types and their comments.
type reflector struct {
	defs map[string]*jsonschema.Schema
	// docs of the fields of a package's structs.
	docs map[string]map[string]map[string]string
}

// reportSchema of what a command prints.
func reportSchema(t *testing.T, report any) *jsonschema.Schema {
	t.Helper()
	r := reflector{defs: map[string]*jsonschema.Schema{}, docs: map[string]map[string]map[string]string{}}
	kind := reflect.TypeOf(report)
	schema := r.of(t, kind)
	schema.Schema, schema.Title, schema.Defs = "https://json-schema.org/draft/2020-12/schema", kind.Name(), r.defs
	return schema
}

func (r *reflector) of(t *testing.T, kind reflect.Type) *jsonschema.Schema {
	t.Helper()
	switch kind.Kind() {
	case reflect.Pointer:
		return r.of(t, kind.Elem())
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: r.of(t, kind.Elem())}
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: r.of(t, kind.Elem())}
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return &jsonschema.Schema{Type: "integer"}
	case reflect.Float64:
		return &jsonschema.Schema{Type: "number"}
	case reflect.Struct:
		return r.ofStruct(t, kind)
	default:
		t.Fatalf("a report has a field of the type %v", kind)
		return nil
	}
}

func (r *reflector) ofStruct(t *testing.T, kind reflect.Type) *jsonschema.Schema {
	t.Helper()
	switch kind {
	case reflect.TypeFor[metav1.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[metav1.Duration]():
		return &jsonschema.Schema{Type: "string"}
	}
	reference := &jsonschema.Schema{Ref: "#/$defs/" + kind.Name()}
	if r.defs[kind.Name()] != nil {
		return reference
	}
	def := &jsonschema.Schema{
		Type: "object", Properties: map[string]*jsonschema.Schema{},
		// Nothing but what is documented.
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	r.defs[kind.Name()] = def
	for _, field := range reflect.VisibleFields(kind) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous || !field.IsExported() || name == "-" {
			continue
		}
		property := r.of(t, field.Type)
		owner := kind
		for _, index := range field.Index[:len(field.Index)-1] {
			owner = owner.Field(index).Type
		}
		property.Description = r.doc(t, owner, field.Name)
		def.Properties[name] = property
		def.PropertyOrder = append(def.PropertyOrder, name)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			def.Required = append(def.Required, name)
		}
	}
	return reference
}

// doc is the comment of a field of one of our types.
func (r *reflector) doc(t *testing.T, owner reflect.Type, field string) string {
	t.Helper()
	folder, ours := strings.CutPrefix(owner.PkgPath(), "obstack.dev/obstack/")
	if !ours {
		return ""
	}
	if r.docs[folder] == nil {
		r.docs[folder] = fieldComments(t, filepath.Join("..", "..", folder))
	}
	return r.docs[folder][owner.Name()][field]
}

// fieldComments by struct and field. One without a comment has that of a field before it which
// names it.
func fieldComments(t *testing.T, folder string) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has the files %v: %v", folder, files, err)
	}
	comments := map[string]map[string]string{}
	for _, file := range files {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if fields, ok := spec.Type.(*ast.StructType); ok {
					comments[spec.Name.Name] = commentsOf(fields)
				}
			}
			return true
		})
	}
	return comments
}

func commentsOf(fields *ast.StructType) map[string]string {
	comments, before := map[string]string{}, ""
	for _, field := range fields.Fields.List {
		text := field.Doc.Text()
		for _, name := range field.Names {
			if text == "" && slices.Contains(strings.Fields(before), name.Name) {
				text = before
			}
			// A marker of a generator is no documentation.
			text, _, _ = strings.Cut(text, "\n+")
			comments[name.Name] = strings.Join(strings.Fields(text), " ")
		}
		if text != "" {
			before = text
		}
	}
	return comments
}

// schemaRow is a field of a report, with the path to it.
type schemaRow struct{ Path, Type, Description string }

// schemaRows of a report, in the order in which it is printed.
func schemaRows(root *jsonschema.Schema) []schemaRow {
	var rows []schemaRow
	var walk func(prefix string, schema *jsonschema.Schema, above []string)
	walk = func(prefix string, schema *jsonschema.Schema, above []string) {
		name := strings.TrimPrefix(schema.Ref, "#/$defs/")
		def := root.Defs[name]
		if def == nil || slices.Contains(above, name) {
			return
		}
		for _, property := range def.PropertyOrder {
			field := def.Properties[property]
			row := schemaRow{Path: prefix + property, Type: field.Type, Description: field.Description}
			inner := field
			for inner.Items != nil {
				row.Path, inner = row.Path+"[]", inner.Items
			}
			switch {
			case inner.Ref == "":
				row.Type = inner.Type
			case slices.Contains(append(above, name), strings.TrimPrefix(inner.Ref, "#/$defs/")):
				row.Type = "as above"
			default:
				row.Type = "object"
			}
			rows = append(rows, row)
			walk(row.Path+".", inner, append(slices.Clone(above), name))
		}
	}
	walk("", &jsonschema.Schema{Ref: root.Ref}, nil)
	return rows
}

// wantReport fails if what a command printed as JSON is not what its schema says.
func wantReport(t *testing.T, args []string, text string) {
	t.Helper()
	report, ok := printed[args[0]]
	if !ok {
		t.Errorf("%v prints JSON that has no schema", args)
		return
	}
	schema, err := reportSchema(t, report).Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Errorf("%v prints no JSON: %v\n%s", args, err, text)
		return
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%v prints what its schema does not allow: %v\n%s", args, err, text)
	}
}
