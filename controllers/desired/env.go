// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// env are the variables that those workloads alone get who accept them: spec.injection.env and the
// URLs of brokers.
type env struct {
	data map[string]string
	// revisions stand for the values in the hash, which many may see.
	revisions map[string]string
	// refs are the keys that the values come from.
	refs []KeyRef
	// problem is the first value that is missing or cannot be given.
	problem *Output
}

func newEnv(spec *obsv1.ObservabilityStackSpec, values map[KeyRef]Value) env {
	e := env{data: map[string]string{}, revisions: map[string]string{}}
	if spec.Injection != nil {
		for _, variable := range spec.Injection.Env {
			field := fmt.Sprintf("variable %s of spec.injection.env", variable.Name)
			e.add(string(variable.Name), variable.Value, envRef(variable), values, field)
		}
	}
	for _, broker := range spec.Brokers() {
		if broker.Env == "" {
			continue
		}
		field := "env of broker " + broker.Name
		if ref := urlRef(&broker); ref != nil && e.problem == nil {
			e.problem = invalidURL(&broker, values[*ref].Problem, ref.String()+", for "+field+",")
		}
		e.add(string(broker.Env), broker.URL, urlRef(&broker), values, field)
	}
	return e
}

// add a variable with its value, or with that of a key.
func (e *env) add(name, value string, ref *KeyRef, values map[KeyRef]Value, field string) {
	revision, why := value, refusal(name)
	if _, twice := e.data[name]; twice {
		why = "it has a value already: remove one of the two"
	}
	switch {
	case why != "":
	case ref == nil:
		why = unusable(value)
	default:
		found, missing := keyValue(*ref, values, field)
		if missing != nil {
			e.fail(*missing)
			return
		}
		if found.Unusable != "" {
			why = ref.String() + " holds a value that " + found.Unusable
		}
		value, revision = found.Value, found.Revision
		e.refs = append(e.refs, *ref)
	}
	if why != "" {
		e.fail(unavailable(nil, obsv1.ReasonInvalidVariable, field+": "+why))
		return
	}
	e.data[name], e.revisions[name] = value, revision
}

// fail keeps the first problem.
func (e *env) fail(problem Output) {
	if e.problem == nil {
		e.problem = &problem
	}
}

// envRef is the key that a variable comes from; nil if it has a value of its own.
func envRef(variable obsv1.EnvVar) *KeyRef {
	switch from := variable.ValueFrom; {
	case from == nil:
		return nil
	case from.ConfigMapKeyRef != nil:
		return &KeyRef{ConfigMap: true, Name: from.ConfigMapKeyRef.Name, Key: from.ConfigMapKeyRef.Key}
	case from.SecretKeyRef != nil:
		return new(secretKey(*from.SecretKeyRef))
	default:
		return nil
	}
}

// urlRef is the key that a broker's URL comes from; nil if the spec has it.
func urlRef(broker *obsv1.Broker) *KeyRef {
	if broker.URLFrom == nil {
		return nil
	}
	return new(secretKey(broker.URLFrom.SecretKeyRef))
}
