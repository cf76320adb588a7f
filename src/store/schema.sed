# schema.sql as a C string
1i extern const char store_schema[];\nconst char store_schema[] =
s/[\\"]/\\&/g
s/.*/"&\\n"/
$a ;
