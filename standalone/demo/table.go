package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"mollymawk.dev/operator/api/v1alpha1"
)

// PrintTable prints objects as "kubectl get" does: the server makes the columns.
func PrintTable(ctx context.Context, w io.Writer, config *rest.Config, resource string) error {
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.AcceptContentTypes = "application/json;as=Table;v=v1;g=meta.k8s.io"
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	var table metav1.Table
	if err := c.Get().Resource(resource).Do(ctx).Into(&table); err != nil {
		return fmt.Errorf("list %s: %w", resource, err)
	}
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	var header []string
	for _, column := range table.ColumnDefinitions {
		if column.Priority == 0 {
			header = append(header, strings.ToUpper(column.Name))
		}
	}
	fmt.Fprintln(out, strings.Join(header, "\t"))
	for _, row := range table.Rows {
		var cells []string
		for i, column := range table.ColumnDefinitions {
			if column.Priority == 0 {
				cells = append(cells, cell(row.Cells[i]))
			}
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	return out.Flush()
}

func cell(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
