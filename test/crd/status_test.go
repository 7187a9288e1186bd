package crd_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/testenv"
)

var (
	digest = strings.Repeat("0f", 32)
	when   = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
)

func ready(generation int64, reason string) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason,
		Message: "As declared.", ObservedGeneration: generation, LastTransitionTime: when}}
}

func instance() *v1alpha1.AlbatrossInstance {
	return &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "status-"},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: "albatross.example.org"},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: "credentials"},
		},
	}
}

func fullInstanceStatus(generation int64) v1alpha1.AlbatrossInstanceStatus {
	gi, cpus, bridges := resource.MustParse("1Gi"), []v1alpha1.CPUID{0, 1}, []string{"service"}
	used := v1alpha1.Usage{Unikernels: 7, Volumes: 2, Memory: gi, Storage: gi}
	return v1alpha1.AlbatrossInstanceStatus{
		ObservedGeneration: generation, Conditions: ready(generation, v1alpha1.ReasonSucceeded), CredentialsNotAfter: &when,
		Unikernels: new(int32(7)), Volumes: new(int32(2)),
		Capacity: &v1alpha1.Capacity{Unikernels: new(int64(1) << 62), CPUIDs: cpus, Memory: &gi, Storage: &gi, Bridges: bridges},
		Used:     &used,
		Tenants: []v1alpha1.TenantStatus{{Path: "customers:alice", Used: &used, Refused: "policy above allows 1 unikernels",
			Policy: &v1alpha1.PolicyStatus{Unikernels: 10, CPUIDs: cpus, Memory: gi, Storage: &gi, Bridges: bridges}}},
		Unowned: &v1alpha1.Unowned{Unikernels: 1, Volumes: 1, UnikernelNames: []string{"alice:old"}, VolumeNames: []string{"alice:data"}},
	}
}

func unikernel(namespace string) *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "status-", Namespace: namespace},
		Spec: v1alpha1.UnikernelSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: "local"},
			Image:       &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: v1alpha1.SHA256(digest)}}},
		},
	}
}

func fullUnikernelStatus(generation int64) v1alpha1.UnikernelStatus {
	memory, size := v1alpha1.FromMiB(32), v1alpha1.FromMiB(64)
	image := &v1alpha1.ResolvedImage{
		Source: "catalog hello (oci registry.example.org/hello:1)", Digest: digest, Version: "1@sha256:" + digest, Arguments: []string{"--hello"}, FoundAt: &when,
	}
	return v1alpha1.UnikernelStatus{
		Image: image, AvailableImage: image, Rollback: &v1alpha1.RollbackStatus{Revision: 1, Failed: 2, Declaration: digest, Message: "the probe fails"},
		ObservedGeneration: generation, Conditions: ready(generation, v1alpha1.ReasonSucceeded), Instance: "local",
		HostName: "alice:hello", Digest: digest, ShortDigest: digest[:12], StartedAt: &when, Memory: &memory, CPUIDs: []v1alpha1.CPUID{0},
		NetworkInterfaces: []v1alpha1.NetworkInterfaceStatus{{Name: "service", Bridge: "service", MAC: "00:80:41:12:34:56"}},
		BlockDevices:      []v1alpha1.BlockDeviceStatus{{Name: "storage", HostDevice: "alice:data", SectorSize: 512, Size: &size}},
		Restarts:          3, RestartedAt: "2026-01-02T03:04:05Z",
		History: []v1alpha1.Revision{{Revision: 2, Digest: digest, Source: "https://example.org/hello.hvt", ConfigHash: digest,
			Version: "1@sha256:" + digest, Healthy: true,
			DeployedAt: &when, Reason: v1alpha1.ReasonReplacing}, {Revision: 1}},
	}
}

func volume(namespace string) *v1alpha1.Volume {
	return &v1alpha1.Volume{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "status-", Namespace: namespace},
		Spec:       v1alpha1.VolumeSpec{InstanceRef: v1alpha1.InstanceReference{Name: "local"}, Size: v1alpha1.FromMiB(64)},
	}
}

func fullVolumeStatus(generation int64) v1alpha1.VolumeStatus {
	size := v1alpha1.FromMiB(64)
	return v1alpha1.VolumeStatus{
		ObservedGeneration: generation, Conditions: ready(generation, v1alpha1.ReasonSucceeded), HostName: "alice:data", Size: &size,
		AttachedTo: "hello", PopulatedDigest: digest, PopulatedAt: &when,
	}
}

// TestStatus writes every field of each status through the Go types, and reads the columns that people see.
func TestStatus(t *testing.T) {
	s := newServer(t)
	albi, uk, vol := instance(), unikernel(s.namespace), volume(s.namespace)
	cases := []struct {
		plural string
		obj    client.Object
		full   func()
		cells  []any
	}{
		{"albatrossinstances", albi, func() { albi.Status = fullInstanceStatus(albi.Generation) },
			[]any{"True", "Succeeded", "albatross.example.org", float64(7), float64(2)}},
		{"unikernels", uk, func() { uk.Status = fullUnikernelStatus(uk.Generation) },
			[]any{"True", "Succeeded", "local", digest[:12], "32Mi"}},
		{"volumes", vol, func() { vol.Status = fullVolumeStatus(vol.Generation) },
			[]any{"True", "Succeeded", "local", "64Mi", "hello"}},
	}
	strict := client.WithFieldValidation(s.client, metav1.FieldValidationStrict)
	for _, c := range cases {
		t.Run(c.plural, func(t *testing.T) {
			c.obj.SetFinalizers([]string{v1alpha1.Finalizer})
			if err := strict.Create(t.Context(), c.obj); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, s, c.obj, status.InProgressStatus)
			c.full()
			if err := strict.Status().Update(t.Context(), c.obj); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, s, c.obj, status.CurrentStatus)
			cells := table(t, c.plural, c.obj)
			if len(cells) < len(c.cells)+1 || !slices.Equal(cells[1:len(c.cells)+1], c.cells) {
				t.Errorf("columns show %v, want %v after the name", cells, c.cells)
			}
			if err := strict.Delete(t.Context(), c.obj); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, s, c.obj, status.TerminatingStatus)
			free := []byte(`{"metadata":{"finalizers":null}}`)
			if err := strict.Patch(t.Context(), c.obj, client.RawPatch("application/merge-patch+json", free)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// wantStatus demands what kstatus makes of the stored object.
func wantStatus(t *testing.T, s *server, obj client.Object, want status.Status) {
	t.Helper()
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	got, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != want {
		t.Errorf("kstatus is %s (%s), want %s", got.Status, got.Message, want)
	}
}

// table gives the cells that kubectl get shows for an object.
func table(t *testing.T, plural string, obj client.Object) []any {
	t.Helper()
	config := testenv.Config(t)
	config.GroupVersion, config.APIPath = &v1alpha1.GroupVersion, "/apis"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Get().Resource(plural).NamespaceIfScoped(obj.GetNamespace(), obj.GetNamespace() != "").Name(obj.GetName()).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := &metav1.Table{}
	if err := json.Unmarshal(raw, out); err != nil || len(out.Rows) != 1 {
		t.Fatal(err, string(raw))
	}
	return out.Rows[0].Cells
}
