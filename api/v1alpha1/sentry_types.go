// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "slices"

// ReleaseFromImage as spec.sentry.release takes the release from the container's image.
const ReleaseFromImage = "FromImage"

// SentrySpec says where errors are reported.
type SentrySpec struct {
	// dsnFrom takes the DSN from a Secret in the stack's namespace. Absent: Sentry is off.
	// An empty value turns it off as well, and the condition SentryReady says so.
	// +optional
	DSNFrom *SecretKeySource `json:"dsnFrom,omitempty"`

	// projects are Sentry projects with a DSN of their own. The annotation
	// obstack.dev/sentry-project: NAME on a workload chooses one; without it the workload gets
	// that of dsnFrom. Absent: all get that.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Projects []SentryProject `json:"projects,omitempty"`

	// tracesSampleRate is the share of transactions that are traced, from "0" to
	// "1", given to workloads as SENTRY_TRACES_SAMPLE_RATE. Python applications
	// must read that variable themselves. Absent: the variable is not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0([.][0-9]+)?|1([.]0+)?)$')",message="tracesSampleRate must be a number from 0 to 1, written as a string, such as \"0.1\""
	TracesSampleRate string `json:"tracesSampleRate,omitempty"`

	// release is given to workloads as SENTRY_RELEASE. FromImage makes it of the workload's name
	// and each container's image: WORKLOAD@TAG, or the digest of an image without a tag. Absent:
	// the variable is not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\n\\\\t/\\\\\\\\]') && self != '.' && self != '..'",message="release must not contain line breaks, tabs, '/' or '\\\\': Sentry refuses such releases; write for example shop@1.4.2"
	Release string `json:"release,omitempty"`
}

// SentryProject is a Sentry project that workloads choose by its name.
type SentryProject struct {
	// name of the project here, as the annotation obstack.dev/sentry-project has it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a project's name consists of lower-case letters, digits and '-', and neither starts nor ends with '-': write for example payments"
	Name string `json:"name,omitempty"`

	// dsnFrom takes the project's DSN from a Secret in the stack's namespace. An empty value
	// turns Sentry off for it.
	// +required
	DSNFrom SecretKeySource `json:"dsnFrom,omitzero"`
}

// Project returns the project of that name; nil if there is none.
func (s *SentrySpec) Project(name string) *SentryProject {
	if s == nil {
		return nil
	}
	for i := range s.Projects {
		if s.Projects[i].Name == name {
			return &s.Projects[i]
		}
	}
	return nil
}

// VariableRelease is what Sentry's SDKs read the release from.
const VariableRelease = "SENTRY_RELEASE"

// ReleasesFromImage reports whether the release is taken from each container's image.
func (s *SentrySpec) ReleasesFromImage() bool {
	return s != nil && s.Release == ReleaseFromImage
}

// HasSettings reports whether there is anything for workloads; env is whether they accept env.
func (s *ObservabilityStackSpec) HasSettings(env bool) bool {
	return s.Sentry != nil || s.Logging != nil || s.Python != nil || s.Environment != "" || env && s.HasEnv()
}

// HasEnv reports whether there is anything for those workloads alone that accept env.
func (s *ObservabilityStackSpec) HasEnv() bool {
	return s.Injection != nil && len(s.Injection.Env) > 0 ||
		slices.ContainsFunc(s.Brokers(), func(b Broker) bool { return b.Env != "" })
}

// LoggingSpec says how workloads log. structlog is set up from it by the application.
type LoggingSpec struct {
	// level is given to workloads as LOG_LEVEL. Absent: the variable is not set.
	// +optional
	// +kubebuilder:validation:Enum=DEBUG;INFO;WARNING;ERROR;CRITICAL
	Level string `json:"level,omitempty"`

	// format is given to workloads as LOG_FORMAT. Absent: the variable is not set.
	// +optional
	// +kubebuilder:validation:Enum=json;console
	Format string `json:"format,omitempty"`
}
