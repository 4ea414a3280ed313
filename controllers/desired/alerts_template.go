// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"reflect"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// addLabels adds those of the spec. Labels that say what the alert is about stay as they are, or
// one stack's alert could pass for another's.
func addLabels(rule *monitoringv1.Rule, labels map[string]obsv1.AlertLabelValue) {
	for key, value := range labels {
		_, taken := rule.Labels[key]
		if !taken && key != "namespace" && key != labelQueue && !strings.HasPrefix(key, "obstack_") {
			rule.Labels[key] = literal(string(value))
		}
	}
}

// annotation is a template of Prometheus, written by a format of ours. Its arguments are taken
// literally, whatever they contain.
func annotation(format string, args ...any) string {
	for i, arg := range args {
		if reflect.ValueOf(arg).Kind() == reflect.String {
			args[i] = literal(fmt.Sprint(arg))
		}
	}
	return fmt.Sprintf(format, args...)
}

// literal escapes a string for Prometheus' templates, which could read every series.
func literal(s string) string {
	return strings.ReplaceAll(s, "{", `{{"{"}}`)
}
