package opikexporter

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// refuseUnknown finds a key that no field has, in a section of the settings and those within it, and names the nearest that there is.
func refuseUnknown(section string, given map[string]any, of reflect.Type) error {
	fields := fieldsOf(of)
	for key, value := range given {
		field, known := fields[key]
		if !known {
			names := slices.Sorted(maps.Keys(fields))
			return fmt.Errorf("there is no setting %q; did you mean %q? There are %s", section+key, section+nearest(key, names), strings.Join(names, ", "))
		}
		within, isSection := value.(map[string]any)
		if isSection && field.Kind() == reflect.Struct && !strings.HasPrefix(field.Name(), "Optional[") { // which is strict of itself
			if err := refuseUnknown(section+key+"::", within, field); err != nil {
				return err
			}
		}
	}
	return nil
}

// fieldsOf are a struct's settings by name, those of squashed structs too.
func fieldsOf(settings reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for index := range settings.NumField() {
		field := settings.Field(index)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case strings.Contains(options, "squash"):
			maps.Copy(fields, fieldsOf(field.Type))
		case name != "":
			fields[name] = field.Type
		}
	}
	return fields
}

// nearest is the name that the fewest changes of a letter lead to.
func nearest(key string, names []string) string {
	return slices.MinFunc(names, func(one, other string) int { return distance(key, one) - distance(key, other) })
}

// distance is how many letters have to be put in, left out or changed (Levenshtein).
func distance(one, other string) int {
	row := make([]int, len(other)+1)
	for column := range row {
		row[column] = column
	}
	for line := range len(one) {
		before := row[0]
		row[0] = line + 1
		for column := range len(other) {
			change := before
			if one[line] != other[column] {
				change++
			}
			before = row[column+1]
			row[column+1] = min(change, row[column]+1, row[column+1]+1)
		}
	}
	return row[len(other)]
}
