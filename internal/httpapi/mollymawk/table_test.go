package mollymawk_test

import (
	"slices"
	"testing"

	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
)

// TestEveryRouteIsDescribed compares the description with what is served. Who
// reaches what by each route is proven in the package test/httpapi.
func TestEveryRouteIsDescribed(t *testing.T) {
	var described []string
	for route, tags := range apitest.Described(t) {
		if !slices.Equal(tags, []string{"panel"}) {
			described = append(described, route)
		}
	}
	slices.Sort(described)
	if served := mollymawk.New(mollymawk.Options{}).Routes(); !slices.Equal(served, described) {
		t.Errorf("served    %v\ndescribed %v", served, described)
	}
}
