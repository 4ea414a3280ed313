// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// healthScript of the page that people copy it from.
func healthScript(t *testing.T) string {
	t.Helper()
	const key = "resource.customizations.health.obstack.dev_ObservabilityStack"
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(
		read(t, "docs/guides/gitops.md"), -1) {
		configMap := &corev1.ConfigMap{}
		if err := yaml.Unmarshal([]byte(block[1]), configMap); err == nil && configMap.Data[key] != "" {
			return configMap.Data[key]
		}
	}
	t.Fatalf("docs/guides/gitops.md has no %s", key)
	return ""
}

// health runs the script as Argo CD does: with the object as obj, and few libraries.
func health(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v, not a table", state.Get(-1))
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

// luaValue of what JSON and YAML hold.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, element := range value {
			table.RawSetString(key, luaValue(state, element))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(luaValue(state, element))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	}
	return lua.LNil
}

// TestArgoCDHealth on stacks whose status a running operator wrote. The folder names the health
// that each has.
func TestArgoCDHealth(t *testing.T) {
	script := healthScript(t)
	for _, file := range files(t, "test/repository/testdata/argocd/*/*.yaml") {
		want := filepath.Base(filepath.Dir(file))
		stack := map[string]any{}
		if err := yaml.Unmarshal([]byte(read(t, file)), &stack); err != nil {
			t.Fatal(err)
		}
		if got, message := health(t, script, stack); !strings.EqualFold(got, want) || message == "" {
			t.Errorf("%s is %s (%s), want %s", file, got, message, want)
		}
		stack["metadata"].(map[string]any)["generation"] = float64(1000)
		if got, _ := health(t, script, stack); got != "Progressing" {
			t.Errorf("%s is %s when its spec was changed since, want Progressing", file, got)
		}
	}
}

// TestArgoCDKnowsEveryReason: what passes by itself is Progressing, what waits for somebody is not.
func TestArgoCDKnowsEveryReason(t *testing.T) {
	script, page := healthScript(t), read(t, "docs/reference/conditions.md")
	_, page, _ = strings.Cut(page, "\n## Reasons\n")
	page, _, _ = strings.Cut(page, "\n## ")
	found := map[string]int{}
	for _, section := range strings.Split(page, "\nReasons of a condition that ")[1:] {
		kind, status := "Degraded", "False"
		switch title, _, _ := strings.Cut(section, ":"); {
		case strings.Contains(title, "`True`"):
			kind, status = "Healthy", "True"
		case strings.Contains(title, "passes by itself"):
			kind = "Progressing"
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
			got, _ := health(t, script, map[string]any{
				"metadata": map[string]any{"generation": 2.0},
				"status": map[string]any{"observedGeneration": 2.0, "conditions": []any{
					map[string]any{"type": "MetricsReady", "status": "True", "reason": "Available"},
					map[string]any{"type": "Ready", "status": status, "reason": row[1], "message": "m"},
				}},
			})
			if got != kind && (got != "Suspended" || kind == "Progressing") {
				t.Errorf("%s, which is %s, is %s, want %s", row[1], status, got, kind)
			}
			found[kind]++
		}
	}
	if found["Healthy"] < 2 || found["Progressing"] < 2 || found["Degraded"] < 10 {
		t.Errorf("found only the reasons %v", found)
	}
}
