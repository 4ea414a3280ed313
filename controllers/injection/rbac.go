// SPDX-License-Identifier: Apache-2.0

package injection

// What the operator may do only if injection is on. config/rbac/injection_role.yaml
// and the chart's roles are made from this.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=statefulsets;daemonsets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies;mutatingadmissionpolicybindings,verbs=get
//
// Asked only just before a version of settings is deleted, whether anything may bring its Pods
// back; and which Pods are of the newest template, while it is on trial with the bundle for Python.
//
// +kubebuilder:rbac:groups=apps,resources=replicasets;controllerrevisions,verbs=list
