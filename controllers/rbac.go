// SPDX-License-Identifier: Apache-2.0

package controllers

// What the operator may do in any case; what injection needs on top is in injection/rbac.go.
// config/rbac/role.yaml and the chart's roles are made from this.
//
// +kubebuilder:rbac:groups=obstack.dev,resources=observabilitystacks,verbs=get;list;watch
// +kubebuilder:rbac:groups=obstack.dev,resources=observabilityplatforms,verbs=get;list;watch
// +kubebuilder:rbac:groups=obstack.dev,resources=observabilityplatforms/status,verbs=get;update
// +kubebuilder:rbac:groups=obstack.dev,resources=observabilitystacks/status,verbs=get;update
// +kubebuilder:rbac:groups=obstack.dev,resources=observabilitystacks/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=configmaps;secrets;services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=servicemonitors;podmonitors;prometheusrules,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=prometheuses;prometheusagents;thanosrulers,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=grafana.integreatly.org,resources=grafanadashboards,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
