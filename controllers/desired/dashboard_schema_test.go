// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// What follows is Grafana's classic schema as far as the dashboards use it. It
// is stricter than Grafana, which ignores a field that it does not know: a
// setting with a typing error would do nothing and nobody would notice. It needs
// no Node; test/dashboards checks the same files against Grafana's own types.

type schemaDashboard struct {
	ID            *int             `json:"id"`
	UID           string           `json:"uid"`
	Title         string           `json:"title"`
	Description   string           `json:"description"`
	Tags          []string         `json:"tags"`
	Timezone      string           `json:"timezone"`
	SchemaVersion int              `json:"schemaVersion"`
	Version       int              `json:"version"`
	Editable      bool             `json:"editable"`
	GraphTooltip  int              `json:"graphTooltip"`
	Refresh       string           `json:"refresh"`
	Time          schemaTime       `json:"time"`
	Links         []schemaLink     `json:"links"`
	Annotations   schemaAnnotation `json:"annotations"`
	Templating    struct {
		List []schemaVariable `json:"list"`
	} `json:"templating"`
	Panels []schemaPanel `json:"panels"`
}

type schemaTime struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type schemaLink struct {
	AsDropdown  bool     `json:"asDropdown"`
	Icon        string   `json:"icon"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
	Tags        []string `json:"tags"`
	TargetBlank bool     `json:"targetBlank"`
	Title       string   `json:"title"`
	Tooltip     string   `json:"tooltip"`
	Type        string   `json:"type"`
	URL         string   `json:"url"`
}

type schemaSource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type schemaAnnotation struct {
	List []struct {
		Name            string       `json:"name"`
		Datasource      schemaSource `json:"datasource"`
		Enable          bool         `json:"enable"`
		Hide            bool         `json:"hide"`
		IconColor       string       `json:"iconColor"`
		Target          schemaTarget `json:"target"`
		TitleFormat     string       `json:"titleFormat"`
		TextFormat      string       `json:"textFormat"`
		UseValueForTime bool         `json:"useValueForTime"`
	} `json:"list"`
}

type schemaVariable struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Label       string          `json:"label"`
	Hide        int             `json:"hide"`
	Query       json.RawMessage `json:"query"`
	Definition  string          `json:"definition"`
	Datasource  *schemaSource   `json:"datasource"`
	Refresh     int             `json:"refresh"`
	Regex       string          `json:"regex"`
	Sort        int             `json:"sort"`
	Multi       bool            `json:"multi"`
	IncludeAll  bool            `json:"includeAll"`
	AllValue    string          `json:"allValue"`
	Options     []any           `json:"options"`
	Current     map[string]any  `json:"current"`
	SkipURLSync bool            `json:"skipUrlSync"`
}

type schemaTarget struct {
	RefID        string        `json:"refId"`
	Datasource   *schemaSource `json:"datasource"`
	Expr         string        `json:"expr"`
	LegendFormat string        `json:"legendFormat"`
	Interval     string        `json:"interval"`
	Format       string        `json:"format"`
	Range        bool          `json:"range"`
	Instant      bool          `json:"instant"`
	EditorMode   string        `json:"editorMode"`
}

type schemaPanel struct {
	ID          int           `json:"id"`
	Type        string        `json:"type"`
	Title       string        `json:"title"`
	Description string        `json:"description"`
	Datasource  *schemaSource `json:"datasource"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults  schemaField `json:"defaults"`
		Overrides []struct {
			Matcher    schemaOption   `json:"matcher"`
			Properties []schemaOption `json:"properties"`
		} `json:"overrides"`
	} `json:"fieldConfig"`
	Options         json.RawMessage `json:"options"`
	Targets         []schemaTarget  `json:"targets"`
	Transformations []schemaOption  `json:"transformations"`
	// Of rows only.
	Collapsed bool  `json:"collapsed"`
	Panels    []any `json:"panels"`
}

type schemaOption struct {
	ID      string `json:"id"`
	Value   any    `json:"value"`
	Options any    `json:"options"`
}

type schemaField struct {
	Unit     string   `json:"unit"`
	Decimals *int     `json:"decimals"`
	Min      *float64 `json:"min"`
	Max      *float64 `json:"max"`
	NoValue  string   `json:"noValue"`
	Color    *struct {
		Mode       string `json:"mode"`
		FixedColor string `json:"fixedColor"`
	} `json:"color"`
	Thresholds *struct {
		Mode  string `json:"mode"`
		Steps []struct {
			Color string   `json:"color"`
			Value *float64 `json:"value"`
		} `json:"steps"`
	} `json:"thresholds"`
	Custom *struct {
		DrawStyle         string                       `json:"drawStyle"`
		LineWidth         int                          `json:"lineWidth"`
		FillOpacity       int                          `json:"fillOpacity"`
		ShowPoints        string                       `json:"showPoints"`
		PointSize         int                          `json:"pointSize"`
		SpanNulls         bool                         `json:"spanNulls"`
		Stacking          struct{ Mode, Group string } `json:"stacking"`
		ThresholdsStyle   struct{ Mode string }        `json:"thresholdsStyle"`
		Align             string                       `json:"align"`
		CellOptions       struct{ Type string }        `json:"cellOptions"`
		Inspect           bool                         `json:"inspect"`
		Filterable        bool                         `json:"filterable"`
		HideFrom          map[string]bool              `json:"hideFrom"`
		ScaleDistribution struct{ Type string }        `json:"scaleDistribution"`
	} `json:"custom"`
}

// schemaOptions of each type of panel that the dashboards use.
func schemaOptions(panelType string) any {
	legend := struct {
		DisplayMode, Placement string
		ShowLegend             bool
		Calcs                  []string
	}{}
	tooltip := struct {
		Mode, Sort                 string
		ShowColorScale, YHistogram bool
	}{}
	switch panelType {
	case "timeseries":
		return &struct{ Legend, Tooltip any }{&legend, &tooltip}
	case "stat":
		return &struct {
			ColorMode, GraphMode, JustifyMode, Orientation, TextMode, PercentChangeColorMode string
			WideLayout, ShowPercentChange                                                    bool
			ReduceOptions                                                                    struct {
				Calcs  []string
				Fields string
				Values bool
			}
		}{}
	case "table":
		return &struct {
			CellHeight string
			ShowHeader bool
			SortBy     []struct {
				DisplayName string
				Desc        bool
			}
		}{}
	case "heatmap":
		return &struct {
			Calculate bool
			CellGap   int
			Color     struct {
				Mode, Scheme, Fill string
				Steps              int
				Exponent           float64
				Reverse            bool
			}
			FilterValues struct{ Le float64 }
			Legend       struct{ Show bool }
			RowsFrame    struct{ Layout string }
			ShowValue    string
			Tooltip      any
			YAxis        struct {
				AxisPlacement, Unit string
				Reverse             bool
			}
			CellValues struct{ Unit string }
		}{Tooltip: &tooltip}
	case "text":
		return &struct{ Mode, Content string }{}
	case "row":
		return &struct{}{}
	}
	return nil
}

// parseDashboard decodes a dashboard and refuses what the schema does not know.
func parseDashboard(t *testing.T, name string, content []byte) schemaDashboard {
	t.Helper()
	var dashboard schemaDashboard
	if err := strict(content, &dashboard); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, panel := range dashboard.Panels {
		options := schemaOptions(panel.Type)
		if options == nil {
			t.Errorf("%s: panel %q has the type %q, which schemaOptions does not know: add it", name, panel.Title, panel.Type)
			continue
		}
		if len(panel.Options) == 0 {
			continue
		}
		if err := strict(panel.Options, options); err != nil {
			t.Errorf("%s: options of panel %q: %v", name, panel.Title, err)
		}
	}
	return dashboard
}

func strict(content []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("not Grafana's schema: %w", err)
	}
	return nil
}
