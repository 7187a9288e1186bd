package perf

import (
	"bytes"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// readServer gives what the API server tells about itself.
func (w *world) readServer() reading {
	w.Helper()
	access := w.env.Config()
	access.APIPath, access.GroupVersion, access.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(access)
	if err != nil {
		w.Fatal(err)
	}
	text, err := c.Get().AbsPath("/metrics").DoRaw(w.Context())
	if err != nil {
		w.Fatalf("metrics of the API server: %v", err)
	}
	r, err := parseReading(bytes.NewReader(text))
	if err != nil {
		w.Fatalf("metrics of the API server: %v", err)
	}
	return r
}

// writesTo counts the requests for a kind with some verbs, also those that were refused.
func (r reading) writesTo(resource string, verbs ...string) float64 {
	return r.sum("apiserver_request_total", func(labels map[string]string) bool {
		return labels["resource"] == resource && slices.Contains(verbs, labels["verb"])
	})
}

// ownWrites counts the requests for Unikernels and events about them. Of Unikernels the operator changes finalizers and status only,
// and this process creates and deletes them.
func (r reading) ownWrites() float64 {
	return r.writesTo("unikernels", http.MethodPatch, http.MethodPut) + r.writesTo("events", http.MethodPost, http.MethodPatch, http.MethodPut)
}

func (r reading) debug() map[string]float64 {
	all := map[string]float64{}
	r.sum("apiserver_request_total", func(l map[string]string) bool {
		k := l["resource"] + " " + l["subresource"] + " " + l["verb"] + " " + l["code"]
		if l["verb"] != "POST" && l["verb"] != "PATCH" {
			return false
		}
		all[k] = r.sum("apiserver_request_total", func(m map[string]string) bool {
			return m["resource"] == l["resource"] && m["subresource"] == l["subresource"] && m["verb"] == l["verb"] && m["code"] == l["code"]
		})
		return true
	})
	return all
}
