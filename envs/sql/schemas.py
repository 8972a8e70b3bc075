"""The kinds of databases that questions are asked about."""

from .schema import Nouns, Schema

SHOP = Schema(
    name="shop",
    person=Nouns("customers", "customer", "customers"),
    thing=Nouns("products", "product", "products"),
    group=Nouns("categories", "category", "categories"),
    event=Nouns("orders", "order", "orders"),
    person_id="customer_id",
    person_name="name",
    city="city",
    since="signed_up",
    sponsor="referred_by",
    thing_id="product_id",
    title="title",
    price="price",
    thing_group="category_id",
    group_id="category_id",
    group_name="name",
    parent="parent_id",
    event_id="order_id",
    event_person="customer_id",
    event_thing="product_id",
    day="ordered_on",
    amount="amount",
    status="status",
    statuses=("delivered", "pending", "returned", "cancelled"),
    group_names=("Home", "Garden", "Office", "Kitchen", "Lighting", "Outdoor", "Storage", "Tools", "Textiles", "Décor"),
    nouns=("lamp", "chair", "kettle", "rug", "shelf", "vase", "blanket", "desk"),
    definition="""
CREATE TABLE categories (category_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  parent_id INTEGER REFERENCES categories(category_id) -- NULL for a category that is part of no other
);
CREATE TABLE products (product_id INTEGER PRIMARY KEY, title TEXT NOT NULL,
  category_id INTEGER NOT NULL REFERENCES categories(category_id),
  price INTEGER -- euros; NULL where it is not known
);
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, -- not unique
  city TEXT, signed_up TEXT NOT NULL, -- YYYY-MM-DD
  referred_by INTEGER REFERENCES customers(customer_id)
);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(customer_id),
  product_id INTEGER NOT NULL REFERENCES products(product_id), ordered_on TEXT NOT NULL, -- YYYY-MM-DD
  status TEXT NOT NULL, -- delivered, pending, returned or cancelled
  amount REAL -- euros; NULL where it was not recorded
);
""",
)

LIBRARY = Schema(
    name="library",
    person=Nouns("readers", "reader", "readers"),
    thing=Nouns("books", "book", "books"),
    group=Nouns("sections", "section", "sections"),
    event=Nouns("loans", "loan", "loans"),
    person_id="reader_no",
    person_name="full_name",
    city="town",
    since="member_since",
    sponsor="guarantor",
    thing_id="book_no",
    title="book_title",
    price="replacement_cost",
    thing_group="section_no",
    group_id="section_no",
    group_name="section_name",
    parent="within",
    event_id="loan_no",
    event_person="reader_no",
    event_thing="book_no",
    day="lent_on",
    amount="fee",
    status="state",
    statuses=("returned", "renewed", "overdue", "lost"),
    group_names=("Fiction", "Science", "History", "Poetry", "Travel", "Children", "Music", "Maps", "Law", "Théâtre"),
    nouns=("river", "garden", "winter", "house", "letter", "island", "mirror", "journey"),
    definition="""
CREATE TABLE readers (reader_no INTEGER PRIMARY KEY, full_name TEXT NOT NULL, -- not unique
  town TEXT, member_since TEXT NOT NULL, -- YYYY-MM-DD
  guarantor INTEGER REFERENCES readers(reader_no)
);
CREATE TABLE sections (section_no INTEGER PRIMARY KEY, section_name TEXT NOT NULL UNIQUE,
  within INTEGER REFERENCES sections(section_no) -- the section that this one is part of
);
CREATE TABLE books (book_no INTEGER PRIMARY KEY, section_no INTEGER NOT NULL REFERENCES sections(section_no),
  replacement_cost INTEGER, -- NULL where it is not known
  book_title TEXT NOT NULL
);
CREATE TABLE loans (loan_no INTEGER PRIMARY KEY, lent_on TEXT NOT NULL, -- YYYY-MM-DD
  book_no INTEGER NOT NULL REFERENCES books(book_no), reader_no INTEGER NOT NULL REFERENCES readers(reader_no),
  fee REAL, -- NULL where it was not recorded
  state TEXT NOT NULL -- returned, renewed, overdue or lost
);
""",
)

SCHOOL = Schema(
    name="school",
    person=Nouns("students", "student", "students"),
    thing=Nouns("courses", "course", "courses"),
    group=Nouns("areas", "area", "areas"),
    event=Nouns("exams", "exam", "exams"),
    person_id="id",
    person_name="name",
    city="home_town",
    since="enrolled_on",
    sponsor="mentor_id",
    thing_id="id",
    title="title",
    price="tuition",
    thing_group="area_id",
    group_id="id",
    group_name="name",
    parent="parent_id",
    event_id="id",
    event_person="student_id",
    event_thing="course_id",
    day="taken_on",
    amount="points",
    status="result",
    statuses=("passed", "failed", "absent", "appealed"),
    group_names=(
        "Arts",
        "Science",
        "Languages",
        "Biology",
        "Physics",
        "Français",
        "Music",
        "Painting",
        "Drama",
        "Sport",
    ),
    nouns=("theory", "methods", "practice", "history", "seminar", "design", "analysis", "project"),
    definition="""
CREATE TABLE students (id INTEGER PRIMARY KEY, enrolled_on TEXT NOT NULL, -- YYYY-MM-DD
  name TEXT NOT NULL, home_town TEXT, mentor_id INTEGER REFERENCES students(id) -- an older student, if any
);
CREATE TABLE areas (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  parent_id INTEGER REFERENCES areas(id) -- NULL for an area that is part of no other
);
CREATE TABLE courses (id INTEGER PRIMARY KEY, area_id INTEGER NOT NULL REFERENCES areas(id),
  title TEXT NOT NULL, tuition INTEGER -- NULL where it is not fixed yet
);
CREATE TABLE exams (id INTEGER PRIMARY KEY, student_id INTEGER NOT NULL REFERENCES students(id),
  course_id INTEGER NOT NULL REFERENCES courses(id), taken_on TEXT NOT NULL, -- YYYY-MM-DD
  result TEXT NOT NULL, -- passed, failed, absent or appealed
  points REAL -- NULL where none were recorded
);
""",
)

CLINIC = Schema(
    name="clinic",
    person=Nouns("patients", "patient", "patients"),
    thing=Nouns("treatments", "treatment", "treatments"),
    group=Nouns("departments", "department", "departments"),
    event=Nouns("visits", "visit", "visits"),
    person_id="patient_id",
    person_name="patient_name",
    city="city",
    since="registered_on",
    sponsor="contact_id",
    thing_id="code",
    title="label",
    price="list_price",
    thing_group="dept_id",
    group_id="dept_id",
    group_name="dept_name",
    parent="part_of",
    event_id="visit_id",
    event_person="patient_id",
    event_thing="code",
    day="visited_on",
    amount="charge",
    status="outcome",
    statuses=("cured", "follow-up", "referred", "no-show"),
    group_names=("Surgery", "Medicine", "Radiology", "Heart", "Eyes", "Skin", "Children", "Bones", "Sleep", "Café"),
    nouns=("scan", "check", "therapy", "test", "bandage", "course", "consultation", "follow-up"),
    definition="""
CREATE TABLE departments (dept_id INTEGER PRIMARY KEY, dept_name TEXT NOT NULL UNIQUE,
  part_of INTEGER REFERENCES departments(dept_id)
);
CREATE TABLE treatments (code INTEGER PRIMARY KEY, label TEXT NOT NULL,
  list_price INTEGER, -- NULL where there is none
  dept_id INTEGER NOT NULL REFERENCES departments(dept_id)
);
CREATE TABLE patients (patient_id INTEGER PRIMARY KEY, patient_name TEXT NOT NULL, -- not unique
  registered_on TEXT NOT NULL, -- YYYY-MM-DD
  city TEXT, contact_id INTEGER REFERENCES patients(patient_id) -- another patient to call, if any
);
CREATE TABLE visits (visit_id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(patient_id),
  visited_on TEXT NOT NULL, -- YYYY-MM-DD
  code INTEGER NOT NULL REFERENCES treatments(code), charge REAL, -- NULL where it was not recorded
  outcome TEXT NOT NULL -- cured, follow-up, referred or no-show
);
""",
)

FLIGHTS = Schema(
    name="flights",
    person=Nouns("passengers", "passenger", "passengers"),
    thing=Nouns("routes", "route", "routes"),
    group=Nouns("regions", "region", "regions"),
    event=Nouns("bookings", "booking", "bookings"),
    person_id="passenger_id",
    person_name="name",
    city="home_city",
    since="joined_on",
    sponsor="invited_by",
    thing_id="route_id",
    title="title",
    price="base_fare",
    thing_group="region_id",
    group_id="region_id",
    group_name="region",
    parent="parent_region",
    event_id="booking_id",
    event_person="passenger_id",
    event_thing="route_id",
    day="flight_date",
    amount="fare_paid",
    status="status",
    statuses=("flown", "moved", "cancelled", "missed"),
    group_names=("Europe", "Asia", "America", "Alps", "Baltic", "Iberia", "Côte d'Azur", "Islands", "Coast", "Desert"),
    nouns=("shuttle", "express", "night flight", "line", "hopper", "direct", "ferry", "link"),
    definition="""
CREATE TABLE regions (region_id INTEGER PRIMARY KEY, region TEXT NOT NULL UNIQUE,
  parent_region INTEGER REFERENCES regions(region_id) -- the region that this one is part of
);
CREATE TABLE routes (route_id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL REFERENCES regions(region_id),
  title TEXT NOT NULL, base_fare INTEGER -- NULL where it is not fixed
);
CREATE TABLE passengers (passenger_id INTEGER PRIMARY KEY, name TEXT NOT NULL, -- not unique
  home_city TEXT, joined_on TEXT NOT NULL, -- YYYY-MM-DD
  invited_by INTEGER REFERENCES passengers(passenger_id)
);
CREATE TABLE bookings (booking_id INTEGER PRIMARY KEY, route_id INTEGER NOT NULL REFERENCES routes(route_id),
  passenger_id INTEGER NOT NULL REFERENCES passengers(passenger_id), flight_date TEXT NOT NULL, -- YYYY-MM-DD
  fare_paid REAL, -- NULL where it was not recorded
  status TEXT NOT NULL -- flown, moved, cancelled or missed
);
""",
)

PAYROLL = Schema(
    name="payroll",
    person=Nouns("employees", "employee", "employees"),
    thing=Nouns("projects", "project", "projects"),
    group=Nouns("units", "unit", "units"),
    event=Nouns("timesheets", "timesheet", "timesheets"),
    person_id="emp_no",
    person_name="emp_name",
    city="office",
    since="hired_on",
    sponsor="manager_no",
    thing_id="project_no",
    title="project_title",
    price="day_rate",
    thing_group="unit_no",
    group_id="unit_no",
    group_name="unit_name",
    parent="part_of",
    event_id="sheet_no",
    event_person="emp_no",
    event_thing="project_no",
    day="worked_on",
    amount="pay",
    status="state",
    statuses=("billed", "approved", "open", "rejected"),
    group_names=(
        "Sales",
        "Research",
        "Plant",
        "Export",
        "Labs",
        "Logistics",
        "Training",
        "Testing",
        "Legal",
        "Büro Süd",
    ),
    nouns=("migration", "audit", "rollout", "survey", "pilot", "upgrade", "review", "launch"),
    definition="""
CREATE TABLE employees (emp_no INTEGER PRIMARY KEY, emp_name TEXT NOT NULL, -- not unique
  office TEXT, -- the city of the office; NULL for those who work from home
  manager_no INTEGER REFERENCES employees(emp_no), hired_on TEXT NOT NULL -- YYYY-MM-DD
);
CREATE TABLE units (unit_no INTEGER PRIMARY KEY, unit_name TEXT NOT NULL UNIQUE,
  part_of INTEGER REFERENCES units(unit_no)
);
CREATE TABLE projects (project_no INTEGER PRIMARY KEY, project_title TEXT NOT NULL,
  unit_no INTEGER NOT NULL REFERENCES units(unit_no),
  day_rate INTEGER -- NULL where it is still negotiated
);
CREATE TABLE timesheets (sheet_no INTEGER PRIMARY KEY, worked_on TEXT NOT NULL, -- YYYY-MM-DD
  emp_no INTEGER NOT NULL REFERENCES employees(emp_no), project_no INTEGER NOT NULL REFERENCES projects(project_no),
  pay REAL, -- NULL where it was not recorded
  state TEXT NOT NULL -- billed, approved, open or rejected
);
""",
)

SCHEMAS = {schema.name: schema for schema in (SHOP, LIBRARY, SCHOOL, CLINIC, FLIGHTS, PAYROLL)}
"""Name -> schema."""
